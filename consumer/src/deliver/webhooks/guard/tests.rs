//! Addresses and URLs that the guard lets through or refuses, in every spelling.

use super::*;

fn guard(allow: &[&str], allow_http: bool) -> Guard {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    Guard::new(&WebhookSettings { allow, allow_http, ..WebhookSettings::default() }).unwrap()
}

fn refusal(guard: &Guard, url: &str) -> Option<Refused> {
    guard.admit(url).err()
}

/// Every spelling must be recognised without a look-up, or be no URL at all.
const NEVER: [&str; 44] = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://%31%32%37.0.0.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://169.254.169.254/latest/meta-data/",
    "https://0xa9fea9fe/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.1.1/",
    "https://198.19.255.255/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://168.63.129.16/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[ff02::1]/",
];

#[test]
fn private_and_reserved_addresses_are_refused_in_every_spelling() {
    let guard = guard(&[], false);
    for url in NEVER {
        assert!(matches!(refusal(&guard, url), Some(Refused::Address(_) | Refused::Malformed)), "{url}");
    }
}

#[test]
fn public_addresses_are_admitted_on_listed_ports() {
    let guard = guard(&[], false);
    for url in
        ["https://1.1.1.1/", "https://8.8.8.8:8443/a?b", "https://[2606:4700::1111]/", "https://172.32.0.1/", "https://hooks.example/"]
    {
        assert_eq!(refusal(&guard, url), None, "{url}");
    }
    for url in ["https://1.1.1.1:22/", "https://hooks.example:5432/"] {
        assert!(matches!(refusal(&guard, url), Some(Refused::Port(_))), "{url}");
    }
}

#[test]
fn an_allowed_network_is_reached_on_any_port() {
    let guard = guard(&["127.0.0.0/8", "10.1.0.0/16"], false);
    for url in ["https://127.0.0.1:9000/", "https://[::ffff:127.0.0.1]:9000/", "https://10.1.2.3/", "https://hooks.example:9000/"] {
        assert_eq!(refusal(&guard, url), None, "{url}");
    }
    assert!(matches!(refusal(&guard, "https://10.2.0.1/"), Some(Refused::Address(_))));
    assert!(matches!(refusal(&guard, "https://1.1.1.1:9000/"), Some(Refused::Port(9000))));
}

#[test]
fn nobody_can_allow_the_metadata_of_a_cloud() {
    let guard = guard(&["0.0.0.0/0", "::/0"], false);
    for url in [
        "https://169.254.169.254/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://[fd00:ec2::254]/",
    ] {
        assert!(matches!(refusal(&guard, url), Some(Refused::Address(_))), "{url}");
    }
}

#[test]
fn plain_http_and_credentials_need_permission_or_are_refused() {
    assert_eq!(refusal(&guard(&[], false), "http://1.1.1.1:443/"), Some(Refused::Scheme("http".into())));
    assert_eq!(refusal(&guard(&[], true), "http://1.1.1.1:443/"), None);
    assert_eq!(refusal(&guard(&[], true), "ftp://1.1.1.1/"), Some(Refused::Scheme("ftp".into())));
    assert_eq!(refusal(&guard(&[], false), "https://user@1.1.1.1/"), Some(Refused::UserInfo));
    assert_eq!(refusal(&guard(&[], false), "hooks.example"), Some(Refused::Malformed));
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_resolves_to() {
    let resolve = async |allow: &[&str], public| {
        let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        JudgingResolver { allow, public }.resolve("localhost".parse().unwrap()).await.map(|addresses| addresses.count()).ok()
    };
    assert_eq!(resolve(&[], true).await, None);
    assert!(resolve(&["127.0.0.0/8", "::1/128"], false).await.is_some());
}
