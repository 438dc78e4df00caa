//! SQL is written once, in Postgres' words. Here is all that SQLite says otherwise; what cannot be said in both is branched where it stands.
//!
//! | Postgres | SQLite |
//! | --- | --- |
//! | `now()`, `later(seconds)`, `to_timestamp(unix)` | `strftime`, as texts that sort by time |
//! | `json_to_recordset($1) as given(id uuid, n int)`: rows as one parameter | a selection from `json_each($1)` |
//! | `for update …`, `for share`, `for key share` | nothing: there is one writer at a time |
//! | `$1::type` | `$1` |

const TIME_FORMAT: &str = "'%Y-%m-%dT%H:%M:%f+00:00'";

/// The statement in SQLite's words.
pub(super) fn sqlite(sql: &str) -> String {
    let mut sql = without_locks(&without_casts(sql));
    sql = sql.replace("now()", &format!("strftime({TIME_FORMAT}, 'now')"));
    sql = with_calls(&sql, "later(", |seconds| format!("strftime({TIME_FORMAT}, 'now', ({seconds}) || ' seconds')"));
    sql = with_calls(&sql, "to_timestamp(", |unix| format!("strftime({TIME_FORMAT}, {unix}, 'unixepoch')"));
    with_rows(&sql)
}

fn without_casts(sql: &str) -> String {
    let mut parts = sql.split("::");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    }
    plain
}

/// A lock is the last thing in its selection.
fn without_locks(sql: &str) -> String {
    [" for update", " for share", " for key share"].iter().fold(sql.to_owned(), |sql, lock| {
        let mut parts = sql.split(lock);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.trim_start_matches(|c| c != ')'))
    })
}

/// Replaces each call of a function, given with its opening parenthesis.
fn with_calls(sql: &str, call: &str, replacement: impl Fn(&str) -> String) -> String {
    let Some((before, rest)) = sql.split_once(call) else { return sql.to_owned() };
    let (argument, after) = split_at_closing(rest);
    format!("{before}{}{}", replacement(argument), with_calls(after, call, replacement))
}

/// Rows that travel as one JSON parameter: a list of objects. Ids stand there as text.
fn with_rows(sql: &str) -> String {
    let Some((before, rest)) = sql.split_once("json_to_recordset(") else { return sql.to_owned() };
    let (parameter, rest) = split_at_closing(rest);
    let (name, rest) = rest.strip_prefix(" as ").and_then(|rest| rest.split_once('(')).unwrap_or((rest, ""));
    let (columns, after) = split_at_closing(rest);
    let columns: Vec<String> = columns
        .split(',')
        .filter_map(|column| column.trim().split_once(' '))
        .map(|(name, kind)| match kind {
            "uuid" => format!("unhex(value ->> '{name}', '-') as {name}"),
            _ => format!("value ->> '{name}' as {name}"),
        })
        .collect();
    format!("{before}(select {} from json_each({parameter})) as {name}{}", columns.join(", "), with_rows(after))
}

/// Splits behind an opening parenthesis: what it encloses, and what follows.
fn split_at_closing(sql: &str) -> (&str, &str) {
    let mut depth = 1;
    for (index, character) in sql.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&sql[..index], &sql[index + 1..]);
        }
    }
    (sql, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_texts_that_sort() {
        assert_eq!(
            sqlite("select 1 where a > now() and b < later(-$1) and c = to_timestamp($2)"),
            "select 1 where a > strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now') \
             and b < strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', (-$1) || ' seconds') \
             and c = strftime('%Y-%m-%dT%H:%M:%f+00:00', $2, 'unixepoch')"
        );
    }

    #[test]
    fn rows_come_out_of_one_json_parameter() {
        assert_eq!(
            sqlite("select g.id from json_to_recordset($1::json) as g(id uuid, epoch integer) order by g.id"),
            "select g.id from (select unhex(value ->> 'id', '-') as id, value ->> 'epoch' as epoch from json_each($1)) as g order by g.id"
        );
    }

    #[test]
    fn locks_and_casts_go() {
        assert_eq!(
            sqlite("with a as (select sum(b)::bigint, $1::jsonb from t for update of t skip locked) select c from a for key share"),
            "with a as (select sum(b), $1 from t) select c from a"
        );
    }
}
