//! Files: any order of fields, nothing left of a broken upload, and every range of the bytes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{App, Form, json_of};

/// Objects in the store's folder, finished or not.
fn objects_of(app: &App) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        entries.map(|entry| entry.unwrap()).map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&app.objects)
}

#[tokio::test]
async fn the_fields_of_an_upload_come_in_any_order() {
    let app = App::start().await;
    let forms = [
        Form::new()
            .field("purpose", "batch")
            .field("expires_after[anchor]", "created_at")
            .field("expires_after[seconds]", "3600")
            .file("a.jsonl", "text"),
        Form::new()
            .file("a.jsonl", "text")
            .field("expires_after[seconds]", "3600")
            .field("purpose", "batch")
            .field("expires_after[anchor]", "created_at"),
    ];
    for form in forms {
        let file = json_of(form.send(&app).await, 200).await;
        assert_eq!(
            (&file["filename"], &file["bytes"], &file["purpose"], &file["status"], &file["object"]),
            (&json!("a.jsonl"), &json!(4), &json!("batch"), &json!("processed"), &json!("file"))
        );
        assert_eq!(file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap(), 3600);
        let shown = json_of(app.get(&format!("/v1/files/{}", file["id"].as_str().unwrap())).await, 200).await;
        assert_eq!(shown["id"], file["id"]);
    }
}

#[tokio::test]
async fn refused_and_broken_uploads_leave_nothing() {
    let app = App::start_with(|settings| settings.limits.file_bytes_max = 1000).await;
    let large = "x".repeat(1001);
    let too_large = Form::new().file("a", &large).field("purpose", "batch").send(&app).await;
    assert_eq!(json_of(too_large, 413).await["error"]["code"], "request_too_large");
    let announced = "x".repeat(200_000);
    assert_eq!(json_of(Form::new().file("a", &announced).send(&app).await, 413).await["error"]["param"], "file");
    json_of(Form::new().file("a", "x").field("purpose", "vision").send(&app).await, 400).await;

    let form = Form::new().file("a", "some bytes").unfinished();
    let head = format!("POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: 900\r\n\r\n{form}", Form::TYPE);
    let stream = app.begin(&head).await;
    drop(stream);
    let list = json_of(app.get("/v1/files").await, 200).await;
    assert_eq!((&list["data"], &list["first_id"]), (&json!([]), &Value::Null));
    let objects = app.objects.clone();
    // The producer lets running calls end before it stops, so the broken upload is over by then.
    let state = objects_of(&app);
    assert_eq!(state, 0, "{objects:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_file_is_read_whole_and_in_ranges() {
    let app = App::start().await;
    let file = app.upload("0123456789").await;
    let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
    let whole = app.call(Method::GET, &path).header("accept", "application/binary").send().await.unwrap();
    assert_eq!(whole.headers()["content-length"], "10");
    assert_eq!(whole.headers()["content-type"], "application/jsonl");
    assert_eq!(whole.headers()["content-disposition"], "attachment; filename=\"input.jsonl\"");
    assert_eq!(whole.text().await.unwrap(), "0123456789");
    for (range, expected) in [("bytes=0-0", "0"), ("bytes=7-", "789"), ("bytes=-2", "89"), ("bytes=3-100", "3456789")] {
        let part = app.call(Method::GET, &path).header("range", range).send().await.unwrap();
        assert_eq!(part.status(), 206, "{range}");
        assert!(part.headers()["content-range"].to_str().unwrap().ends_with("/10"), "{range}");
        assert_eq!(part.text().await.unwrap(), expected, "{range}");
    }
    let outside = app.call(Method::GET, &path).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!((outside.status().as_u16(), &outside.headers()["content-range"]), (416, &"bytes */10".parse().unwrap()));
    let head = app.call(Method::HEAD, &path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"10".parse().unwrap()));
}

#[tokio::test]
async fn a_deleted_file_is_gone_and_its_id_still_serves_as_a_cursor() {
    let app = App::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(app.upload("x").await["id"].as_str().unwrap().to_owned());
    }
    let gone = format!("/v1/files/{}", ids[2]);
    let deleted = app.call(Method::DELETE, &gone).send().await.unwrap();
    assert_eq!(json_of(deleted, 200).await, json!({ "id": ids[2], "object": "file", "deleted": true }));
    assert_eq!(app.call(Method::DELETE, &gone).send().await.unwrap().status(), 404);
    assert_eq!(app.get(&gone).await.status(), 404);
    let page = json_of(app.get(&format!("/v1/files?after={}&limit=10&purpose=batch", ids[2])).await, 200).await;
    let found: Vec<&str> = page["data"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap()).collect();
    assert_eq!((found, &page["has_more"]), (vec![ids[1].as_str(), ids[0].as_str()], &json!(false)));
    let rising = json_of(app.get("/v1/files?order=asc&limit=1").await, 200).await;
    assert_eq!((&rising["data"][0]["id"], &rising["has_more"]), (&json!(ids[0]), &json!(true)));
}
