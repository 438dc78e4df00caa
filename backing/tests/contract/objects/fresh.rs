//! Places for objects that nobody else uses: a folder, or a prefix in the bucket of `MILLRACE_TEST_OBJECTS_URL`.

use std::path::Path;

use backing::{Config, objects::Objects};
use uuid::Uuid;

/// Runs a test over both sides.
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($objects:ident: Objects) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            async fn contract($objects: Objects) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_a_folder() {
                let folder = tempfile::tempdir().unwrap();
                contract(crate::objects::fresh::folder(folder.path()).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_a_bucket() {
                if let Some(objects) = crate::objects::fresh::bucket().await {
                    contract(objects).await;
                }
            }
        }
    )*};
}
pub(super) use on_both;

pub(crate) async fn folder(state: &Path) -> Objects {
    Objects::open(&Config::embedded(state).objects_url).await.unwrap()
}

/// `None` where there is no server to test with, which must not happen in CI.
pub(crate) async fn bucket() -> Option<Objects> {
    let Ok(url) = std::env::var("MILLRACE_TEST_OBJECTS_URL") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MILLRACE_TEST_OBJECTS_URL is not set");
        eprintln!("not tested on S3: MILLRACE_TEST_OBJECTS_URL is not set");
        return None;
    };
    let mut url = url::Url::parse(&url).unwrap();
    url.set_path(&format!("contract-{}", Uuid::new_v4().simple()));
    Some(Objects::open(url.as_str()).await.unwrap())
}
