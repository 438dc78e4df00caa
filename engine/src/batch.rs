//! One step's work, flattened for the model: the rows of all sequences one after another. Who gets in is `schedule.rs`.

use std::ops::Range;

/// Tokens to compute, each with its place, and where their sequences keep their cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    pub(crate) tokens: Vec<u32>,
    pub(crate) rows: Vec<Row>,
    pub(crate) spans: Vec<Span>,
    /// Rows whose next token is to be drawn, in the order of the logits.
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
    pub(crate) tokens: usize,
    pages: Range<usize>,
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
        let first_page = self.pages.len();
        self.pages.extend_from_slice(pages);
        let places = computed..computed + tokens.len();
        self.rows.extend(places.map(|position| Row { span: self.spans.len(), position }));
        self.tokens.extend_from_slice(tokens);
        self.spans.push(Span { sequence, tokens: tokens.len(), pages: first_page..self.pages.len() });
        if sample {
            self.sampled.push(self.rows.len() as u32 - 1);
        }
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
        let length = row.position + 1;
        let page_tokens = self.page_tokens;
        self.page_table(row).iter().enumerate().map_while(move |(index, page)| {
            let left = length.saturating_sub(index * page_tokens);
            let first = *page as usize * page_tokens;
            (left > 0).then(|| first..first + left.min(page_tokens))
        })
    }

    fn page_table(&self, row: Row) -> &[u32] {
        &self.pages[self.spans[row.span].pages.clone()]
    }
}
