//! What `json.dumps` of Python 3.11 writes.

use minijinja::Environment;
use serde_json::json;

fn dumped(expression: &str) -> String {
    let mut environment = Environment::new();
    environment.add_filter("tojson", super::tojson);
    let value: serde_json::Value =
        serde_json::from_str(r#"{"b": [1, 0.5, [], {}, null], "a": {"é": true, "🙂": "\u007f\u2028\u0001<&>'/"}}"#).unwrap();
    environment.compile_expression(expression).unwrap().eval(json!({ "value": value })).unwrap().to_string()
}

#[test]
fn layout_and_order_follow_the_options() {
    let tail = "\"\u{7f}\u{2028}\\u0001<&>'/\"";
    assert_eq!(dumped("value|tojson"), format!(r#"{{"b": [1, 0.5, [], {{}}, null], "a": {{"é": true, "🙂": {tail}}}}}"#));
    assert_eq!(
        dumped("value|tojson(indent=1)"),
        format!("{{\n \"b\": [\n  1,\n  0.5,\n  [],\n  {{}},\n  null\n ],\n \"a\": {{\n  \"é\": true,\n  \"🙂\": {tail}\n }}\n}}")
    );
    assert_eq!(
        dumped("value|tojson(ensure_ascii=True, separators=(',', ':'), sort_keys=True)"),
        r#"{"a":{"\u00e9":true,"\ud83d\ude42":"\u007f\u2028\u0001<&>'/"},"b":[1,0.5,[],{},null]}"#.replace("\\u007f", "\u{7f}")
    );
}

#[test]
fn numbers_are_written_as_python_writes_them() {
    assert_eq!(
        dumped("[0.0, 1e16, 1e15, 123456789012345680.0, 0.0001, 0.00001, 0.0000123, 1.5e300, 2.5e-7, 18446744073709551615]|tojson"),
        "[0.0, 1e+16, 1000000000000000.0, 1.2345678901234568e+17, 0.0001, 1e-05, 1.23e-05, 1.5e+300, 2.5e-07, 18446744073709551615]"
    );
}
