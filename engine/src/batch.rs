//! One step's work, flattened for the model: the rows of all sequences one after another. Who gets in is `schedule.rs`.

use std::ops::Range;

/// Tokens to compute, each with its place, and where their sequences keep their cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    pub(crate) tokens: Vec<u32>,
    pub(crate) rows: Vec<Row>,
    pub(crate) spans: Vec<Span>,
    /// Rows after which a token is drawn or scored, in the order of the logits.
    pub(crate) sampled: Vec<u32>,
    page_tokens: usize,
    pages: Vec<u32>,
}

/// The place of one token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) span: usize,
    pub(crate) position: usize,
}

/// The consecutive rows of one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Which of the running sequences.
    pub(crate) sequence: usize,
    pub(crate) rows: Range<usize>,
    /// Its part of the sampled rows: none, the last, or the last two if a draft is the last.
    pub(crate) sampled: Range<usize>,
    /// Another part of them: those after which the prompt goes on with a token that is to be scored.
    pub(crate) scored: Range<usize>,
    pages: Range<usize>,
    /// The first position its rows look at.
    first: usize,
}

impl Batch {
    pub(crate) fn clear(&mut self, page_tokens: usize) {
        self.page_tokens = page_tokens;
        self.tokens.clear();
        self.rows.clear();
        self.spans.clear();
        self.sampled.clear();
        self.pages.clear();
    }

    /// Adds tokens that follow `computed` cached ones; `sample` draws a token after the last.
    pub(crate) fn push(&mut self, sequence: usize, computed: usize, tokens: &[u32], pages: &[u32], sample: bool) {
        let (first_row, first_sampled, first_page) = (self.rows.len(), self.sampled.len(), self.pages.len());
        self.pages.extend_from_slice(pages);
        let places = computed..computed + tokens.len();
        self.rows.extend(places.map(|position| Row { span: self.spans.len(), position }));
        self.tokens.extend_from_slice(tokens);
        if sample {
            self.sampled.push(self.rows.len() as u32 - 1);
        }
        self.spans.push(Span {
            sequence,
            rows: first_row..self.rows.len(),
            sampled: first_sampled..self.sampled.len(),
            scored: 0..0,
            pages: first_page..self.pages.len(),
            first: 0,
        });
    }

    /// Adds a guess of the token that is drawn after the latest ones; a token is drawn after it, too.
    pub(crate) fn push_draft(&mut self, draft: u32) {
        let (Some(span), Some(last)) = (self.spans.last_mut(), self.rows.last().copied()) else { return };
        self.rows.push(Row { position: last.position + 1, ..last });
        self.tokens.push(draft);
        self.sampled.push(self.rows.len() as u32 - 1);
        span.rows.end = self.rows.len();
        span.sampled.end = self.sampled.len();
    }

    /// Wants logits at these positions of the latest rows, too.
    pub(crate) fn score(&mut self, positions: Range<usize>) {
        let Some(span) = self.spans.last_mut() else { return };
        let first_position = self.rows[span.rows.start].position;
        let first_scored = self.sampled.len();
        self.sampled.extend(positions.map(|position| (span.rows.start + position - first_position) as u32));
        span.scored = first_scored..self.sampled.len();
    }

    /// Lets the latest rows look no further back than to this position.
    pub(crate) fn look_from(&mut self, first: usize) {
        self.spans.iter_mut().last().into_iter().for_each(|span| span.first = first);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The cache slot that belongs to a row.
    pub(crate) fn slot(&self, row: Row) -> usize {
        self.page_table(row)[row.position / self.page_tokens] as usize * self.page_tokens + row.position % self.page_tokens
    }

    /// The cache slots a row attends to, in the order of positions: a run of slots for each page.
    pub(crate) fn context(&self, row: Row) -> impl Iterator<Item = Range<usize>> + Clone {
        let places = self.spans[row.span].first..row.position + 1;
        let page_tokens = self.page_tokens;
        let pages = self.page_table(row).iter().enumerate().skip(places.start / page_tokens);
        pages.map_while(move |(index, page)| {
            let (before, slot) = (index * page_tokens, *page as usize * page_tokens);
            let first = places.start.saturating_sub(before);
            let end = places.end.saturating_sub(before).min(page_tokens);
            (end > 0).then(|| slot + first..slot + end)
        })
    }

    fn page_table(&self, row: Row) -> &[u32] {
        &self.pages[self.spans[row.span].pages.clone()]
    }
}
