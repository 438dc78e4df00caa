//! Pages of a listing: `limit` and `after` in, OpenAI's list object out.

use std::str::FromStr;

use axum::Json;
use domain::error::ApiError;
use serde_json::{Value, json};

/// The size of a page, within its limits.
pub(super) fn limit(text: Option<&str>, default: u32, max: u32) -> Result<u32, ApiError> {
    let Some(text) = text else { return Ok(default) };
    let fits = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    fits.ok_or_else(|| ApiError::invalid_value("limit", format!("`limit` must be a whole number from 1 to {max}")))
}

/// The id after which a page begins.
pub(super) fn cursor<Id: FromStr>(text: Option<&str>) -> Result<Option<Id>, ApiError> {
    text.map(|text| text.parse().map_err(|_| invalid_cursor())).transpose()
}

/// The refusal of a cursor. Starting silently at the first page would make clients loop.
pub(super) fn invalid_cursor() -> ApiError {
    ApiError::invalid("invalid_cursor", "`after` must be the id of the last item of the previous page").param("after")
}

/// One page.
pub(super) fn list(data: Vec<Value>, has_more: bool) -> Json<Value> {
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Json(json!({ "object": "list", "first_id": id(data.first()), "last_id": id(data.last()), "data": data, "has_more": has_more }))
}

#[cfg(test)]
mod tests {
    use domain::id::BatchId;

    use super::*;

    #[test]
    fn limits_outside_their_range_are_refused() {
        assert_eq!(limit(None, 20, 100), Ok(20));
        assert_eq!(limit(Some("100"), 20, 100), Ok(100));
        for text in ["0", "101", "-1", "x", ""] {
            assert_eq!(limit(Some(text), 20, 100).unwrap_err().param.as_deref(), Some("limit"));
        }
    }

    #[test]
    fn a_cursor_of_another_kind_is_refused() {
        let id = BatchId::new();
        assert_eq!(cursor(Some(&id.to_string())), Ok(Some(id)));
        assert_eq!(cursor::<BatchId>(Some("20")).unwrap_err().code, "invalid_cursor");
    }

    #[test]
    fn an_empty_page_has_no_first_and_no_last() {
        assert_eq!(
            list(Vec::new(), false).0,
            json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false })
        );
    }
}
