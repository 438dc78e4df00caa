//! The contract of the objects, in a folder and in an S3 bucket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fresh;

use backing::{Error, objects::Objects};
use bytes::Bytes;
use futures::TryStreamExt;

use self::fresh::on_both;

const MIB: usize = 1024 * 1024;

on_both! {
    async fn what_is_put_is_read_back_whole_and_in_parts(objects: Objects) {
        objects.put("results/a", Bytes::from_static(b"0123456789")).await.unwrap();
        for (offset, length, expected) in
            [(0, None, "0123456789"), (3, None, "3456789"), (0, Some(4), "0123"), (8, Some(100), "89"), (4, Some(0), ""), (10, None, ""), (99, Some(9), "")]
        {
            assert_eq!(objects.read_whole("results/a", offset, length).await.unwrap(), expected, "{offset} {length:?}");
        }
    }

    async fn an_empty_object_is_an_object(objects: Objects) {
        objects.put("empty/put", Bytes::new()).await.unwrap();
        objects.create("empty/written").await.unwrap().finish().await.unwrap();
        for key in ["empty/put", "empty/written"] {
            assert_eq!(objects.read_whole(key, 0, None).await.unwrap(), "");
            assert_eq!(objects.read_whole(key, 0, Some(5)).await.unwrap(), "");
        }
    }

    async fn a_missing_object_is_named(objects: Objects) {
        for length in [None, Some(0), Some(7)] {
            let fault = objects.read("no/such", 0, length).await.err();
            assert!(matches!(&fault, Some(Error::NoObject(key)) if key == "no/such"), "{fault:?}");
        }
    }

    async fn a_later_put_replaces_an_earlier_one(objects: Objects) {
        for text in ["first, and longer", "second"] {
            objects.put("a", Bytes::from_static(text.as_bytes())).await.unwrap();
        }
        assert_eq!(objects.read_whole("a", 0, None).await.unwrap(), "second");
    }

    async fn a_large_object_streams_in_and_out_in_bounded_chunks(objects: Objects) {
        let block: Vec<u8> = (0..MIB + 7).map(|n| (n % 251) as u8).collect();
        let mut writer = objects.create("files/large").await.unwrap();
        for _ in 0..20 {
            writer.write(&block).await.unwrap();
        }
        let size = 20 * block.len() as u64;
        assert_eq!(writer.bytes(), size);
        assert!(matches!(objects.read("files/large", 0, None).await, Err(Error::NoObject(_))), "visible before it is finished");
        writer.finish().await.unwrap();
        let mut chunks = objects.read("files/large", 0, None).await.unwrap();
        let mut at = 0;
        while let Some(chunk) = chunks.try_next().await.unwrap() {
            assert!(chunk.len() <= MIB);
            assert!(chunk.iter().enumerate().all(|(n, &byte)| byte == block[(at + n) % block.len()]), "differs after {at}");
            at += chunk.len();
        }
        assert_eq!(at as u64, size);
        let line = objects.read_whole("files/large", 17 * block.len() as u64 + 5, Some(300)).await.unwrap();
        assert_eq!(line, block[5..305]);
    }

    async fn an_object_that_is_not_finished_never_shows(objects: Objects) {
        for bytes in [10, 9 * MIB] {
            let mut aborted = objects.create("aborted").await.unwrap();
            aborted.write(&vec![1; bytes]).await.unwrap();
            aborted.abort().await;
            let mut dropped = objects.create("dropped").await.unwrap();
            dropped.write(&vec![1; bytes]).await.unwrap();
            drop(dropped);
        }
        for key in ["aborted", "dropped"] {
            assert!(matches!(objects.read(key, 0, None).await, Err(Error::NoObject(_))));
        }
    }

    async fn a_deleted_object_is_gone_and_may_be_deleted_again(objects: Objects) {
        objects.put("a/b/c", Bytes::from_static(b"x")).await.unwrap();
        for _ in 0..2 {
            objects.delete("a/b/c").await.unwrap();
            assert!(matches!(objects.read("a/b/c", 0, None).await, Err(Error::NoObject(_))));
        }
    }

    async fn a_key_that_leads_elsewhere_is_refused(objects: Objects) {
        for key in ["", "/a", "../a", "a/../../b", ".partial/x"] {
            assert!(objects.put(key, Bytes::new()).await.is_err(), "{key}");
            assert!(objects.create(key).await.is_err(), "{key}");
            assert!(objects.read(key, 0, None).await.is_err(), "{key}");
            assert!(objects.delete(key).await.is_err(), "{key}");
        }
    }

    async fn a_service_that_is_there_answers(objects: Objects) {
        objects.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_has_no_leftovers_after_an_unfinished_object() {
    let folder = tempfile::tempdir().unwrap();
    let objects = fresh::folder(folder.path()).await;
    let mut writer = objects.create("a").await.unwrap();
    writer.write(b"half").await.unwrap();
    drop(writer);
    objects.put("b", Bytes::from_static(b"whole")).await.unwrap();
    let partial = std::fs::read_dir(folder.path().join("objects/.partial")).unwrap();
    assert_eq!(partial.count(), 0);
}

#[tokio::test]
async fn addresses_that_can_never_work_are_refused() {
    for url in ["", "objects", "http://bucket", "s3://", "file://host/path", "s3:///prefix"] {
        assert!(matches!(Objects::open(url).await, Err(Error::Config(_))), "{url}");
    }
}

#[tokio::test]
async fn an_object_store_that_is_not_there_is_an_error_within_a_bound() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let objects = Objects::open(&format!("s3://bucket/prefix?endpoint=http://127.0.0.1:{port}")).await.unwrap();
    let asked = std::time::Instant::now();
    assert!(matches!(objects.put("a", Bytes::from_static(b"x")).await, Err(Error::Objects(_))));
    assert!(asked.elapsed() < std::time::Duration::from_secs(60));
}
