//! Opening: what is refused at once, and migrations side by side.

use backing::{Error, store::Store};

use super::{databases::Fresh, on_both, scene::Scene};

on_both! {
    async fn migrating_again_and_side_by_side_changes_nothing(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let others = futures::future::try_join_all((0..3).map(|_| Store::open(&fresh.url))).await.unwrap();
        futures::future::try_join_all(others.iter().map(Store::migrate)).await.unwrap();
        assert_eq!(others[0].ensure_tenant("acme").await.unwrap(), scene.tenant);
        others[0].ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_url_of_no_known_database_is_refused() {
    let error = Store::open("mysql://localhost/x").await.err().unwrap();
    assert!(matches!(error, Error::Config(_)), "{error}");
}

#[tokio::test]
async fn a_postgres_that_may_forget_commits_is_refused() {
    let Some(fresh) = Fresh::postgres().await else { return };
    let forgetful = format!("{}?options=-c%20synchronous_commit%3Doff", fresh.url);
    let error = Store::open(&forgetful).await.err().unwrap();
    assert!(matches!(&error, Error::Config(text) if text.contains("synchronous_commit")), "{error}");
    fresh.drop_database().await;
}
