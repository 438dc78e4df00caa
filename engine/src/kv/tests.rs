//! Pages are found again by their tokens, shared, and forgotten from the ends of what was idle for longest.

use super::Pages;

const PAGE_TOKENS: usize = 4;

fn pages(count: usize) -> Pages {
    Pages::new(count * PAGE_TOKENS, PAGE_TOKENS, true)
}

fn tokens(seed: u32, count: usize) -> Vec<u32> {
    (0..count as u32).map(|index| seed * 1000 + index).collect()
}

/// Holds the pages of these tokens as if all had been computed.
fn computed(pages: &mut Pages, tokens: &[u32]) -> Vec<u32> {
    let mut held = Vec::new();
    let found = pages.find(&mut held, tokens);
    assert!(pages.extend(&mut held, tokens.len()));
    pages.remember(&mut held, tokens, found, tokens.len());
    held
}

#[test]
fn full_pages_are_found_again_but_never_the_last_token() {
    let mut pages = pages(10);
    let mut held = computed(&mut pages, &tokens(1, 11));
    let path = held[..2].to_vec();
    pages.release(&mut held);
    for (length, found) in [(3, 0), (4, 0), (5, 1), (8, 1), (9, 2), (11, 2), (40, 2)] {
        assert_eq!(pages.known(&tokens(1, length)).pages, found, "of {length} tokens");
    }
    assert_eq!(pages.known(&tokens(2, 11)).pages, 0);
    assert_eq!(pages.find(&mut held, &tokens(1, 11)), 8);
    assert_eq!(held, path);
    assert!(pages.balances(2));
}

#[test]
fn a_shared_page_goes_back_with_its_last_holder_and_costs_nobody_else() {
    let mut pages = pages(10);
    let mut first = computed(&mut pages, &tokens(1, 10));
    assert_eq!((pages.available(), pages.cost(&tokens(1, 10), &tokens(1, 10))), (7, 1));
    let mut second = computed(&mut pages, &tokens(1, 10));
    assert_eq!((pages.available(), pages.balances(6)), (6, true));
    pages.release(&mut first);
    assert_eq!((pages.available(), pages.balances(3)), (7, true));
    pages.release(&mut second);
    assert_eq!((pages.available(), pages.cost(&tokens(1, 10), &tokens(1, 10)), pages.balances(0)), (10, 3, true));
}

#[test]
fn pages_computed_twice_become_one() {
    let mut pages = pages(10);
    let tokens = tokens(1, 8);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    assert!(pages.extend(&mut first, 8) && pages.extend(&mut second, 8));
    pages.remember(&mut first, &tokens, 0, 8);
    pages.remember(&mut second, &tokens, 0, 8);
    assert_eq!(first, second);
    assert_eq!((pages.available(), pages.balances(4)), (8, true));
}

#[test]
fn what_was_idle_for_longest_is_forgotten_first_and_from_its_end() {
    let mut pages = pages(6);
    for seed in [1, 2] {
        let mut held = computed(&mut pages, &tokens(seed, 12));
        pages.release(&mut held);
    }
    // A look at the older makes the other the older.
    let mut again = computed(&mut pages, &tokens(1, 12));
    pages.release(&mut again);
    let mut other = Vec::new();
    assert!(pages.extend(&mut other, 2 * PAGE_TOKENS));
    assert_eq!((pages.known(&tokens(1, 13)).pages, pages.known(&tokens(2, 13)).pages), (3, 1));
    assert!(pages.extend(&mut other, 4 * PAGE_TOKENS));
    assert_eq!((pages.known(&tokens(1, 13)).pages, pages.known(&tokens(2, 13)).pages), (2, 0));
    assert!(!pages.extend(&mut other, 7 * PAGE_TOKENS) && pages.balances(4));
}

#[test]
fn nothing_is_remembered_where_nothing_is_to_be() {
    let mut pages = Pages::new(40, PAGE_TOKENS, false);
    let mut held = computed(&mut pages, &tokens(1, 12));
    assert_eq!(pages.known(&tokens(1, 12)).pages, 0);
    pages.release(&mut held);
    assert_eq!((pages.free.len(), pages.idle.len()), (10, 0));
}
