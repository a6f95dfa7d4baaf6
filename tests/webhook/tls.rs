//! Who is let in, and certificates that are exchanged.

use std::fs;

use super::client::{Client, pem};
use super::common::daemon::until;
use super::site::Site;
use super::{batch, once};

/// Puts a file of `tests/data/tls` into the site.
fn show(site: &Site, name: &str, as_name: &str) {
    site.put(as_name, &fs::read(pem(name)).unwrap());
}

/// A port for two clusters, each with an authority of its own, and one with a token only.
fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    let pair = format!("cert: {at}/tls.crt, key: {at}/tls.key");
    let one = format!("tls: {{ {pair}, client_ca: {at}/one-ca.pem }}");
    let two = format!("tls: {{ {pair}, client_ca: {at}/two-ca.pem }}, token_file: {at}/token");
    let three = format!("tls: {{ {pair} }}, token_file: {at}/token");
    let folder = dir.path().join("archive");
    let clusters = [("one", &*one), ("two", &*two), ("three", &*three)];
    let site = Site::at(dir, &folder, &clusters, "part_age_max: 50ms");
    show(&site, "server.pem", "tls.crt");
    show(&site, "server.key", "tls.key");
    show(&site, "one-ca.pem", "one-ca.pem");
    show(&site, "two-ca.pem", "two-ca.pem");
    site.put("token", b"sesame\n");
    site
}

#[test]
fn each_cluster_writes_to_its_own_path_and_to_no_other() {
    let site = site();
    let daemon = site.start();
    let client = |shown: Option<&str>| Client::tls(site.address, "servers-ca.pem", shown);
    let code = |client: &Client, cluster: &str, body: &[u8]| {
        client.post(&format!("/audit/{cluster}"), body).unwrap().code
    };
    let (one, two, nobody) = (client(Some("client-one")), client(Some("client-two")), client(None));
    let bodies: Vec<Vec<u8>> = (0..3).map(|it| batch(it, 2)).collect();
    assert_eq!(code(&one, "one", &bodies[0]), 200);
    assert_eq!(code(&two, "one", &batch(9, 1)), 403);
    assert_eq!(code(&nobody, "one", &batch(9, 1)), 401);
    // Both are asked for.
    assert_eq!(code(&two, "two", &batch(9, 1)), 401);
    assert_eq!(code(&two.clone().with_token("sesam"), "two", &batch(9, 1)), 401);
    assert_eq!(code(&one.clone().with_token("sesame"), "two", &batch(9, 1)), 403);
    assert_eq!(code(&two.clone().with_token("sesame"), "two", &bodies[1]), 200);
    assert_eq!(code(&nobody.clone().with_token("sesame"), "three", &bodies[2]), 200);
    // A token that was exchanged counts at once.
    site.put("token", b"open");
    assert_eq!(code(&nobody.clone().with_token("sesame"), "three", &batch(9, 1)), 401);
    // In the clear it is no request.
    assert!(Client::plain(site.address).post("/audit/one", &batch(9, 1)).is_err());
    for _ in 0..10 {
        assert_eq!(code(&nobody, "one", &batch(9, 1)), 401);
    }
    until(|| site.found("kustos-source-refused"));
    daemon.end();
    assert_eq!(site.stored(), once(&bodies));
}

#[test]
fn certificates_that_are_exchanged_count_without_a_restart_and_broken_ones_do_not() {
    let site = site();
    let daemon = site.start();
    let post = |authority: &str, number: usize| {
        let client = Client::tls(site.address, authority, Some("client-one"));
        client.post("/audit/one", &batch(number, 1)).ok().map(|it| it.code)
    };
    let stale = format!("kustos_webhook_tls_stale{{listen=\"{}\"}}", site.address);
    assert_eq!(post("servers-ca.pem", 0), Some(200));
    // A certificate without its key, as it stands between the two steps of an exchange.
    show(&site, "server-new.pem", "tls.crt");
    until(|| daemon.metric(&stale).filter(|it| it == "1"));
    assert_eq!(post("servers-ca.pem", 1), Some(200));
    show(&site, "server-new.key", "tls.key");
    until(|| daemon.metric(&stale).filter(|it| it == "0"));
    assert_eq!(post("servers-new-ca.pem", 2), Some(200));
    assert_eq!(post("servers-ca.pem", 3), None);
    // An authority that is exchanged no longer lets in whom it let in before, on no connection.
    let client = Client::tls(site.address, "servers-new-ca.pem", Some("client-one"));
    let mut open = client.connect().unwrap();
    assert_eq!(open.post("/audit/one", &batch(4, 1)).unwrap().code, 200);
    fs::remove_file(site.path("one-ca.pem")).unwrap();
    until(|| daemon.metric(&stale).filter(|it| it == "1"));
    assert_eq!(post("servers-new-ca.pem", 5), Some(200));
    show(&site, "two-ca.pem", "one-ca.pem");
    until(|| daemon.metric(&stale).filter(|it| it == "0"));
    assert_eq!(open.post("/audit/one", &batch(6, 1)).unwrap().code, 403);
    daemon.end();
    let kept: Vec<Vec<u8>> = [0, 1, 2, 4, 5].map(|it| batch(it, 1)).to_vec();
    assert_eq!(site.stored(), once(&kept));
}

#[test]
fn whoever_shows_no_certificate_is_not_let_in_where_all_paths_ask_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    let keys =
        format!("tls: {{ cert: {at}/tls.crt, key: {at}/tls.key, client_ca: {at}/one-ca.pem }}");
    let folder = dir.path().join("archive");
    let site = Site::at(dir, &folder, &[("one", &keys)], "part_age_max: 50ms");
    for (name, as_name) in
        [("server.pem", "tls.crt"), ("server.key", "tls.key"), ("one-ca.pem", "one-ca.pem")]
    {
        show(&site, name, as_name);
    }
    let daemon = site.start();
    let post = |shown: Option<&str>| {
        let client = Client::tls(site.address, "servers-ca.pem", shown);
        client.post("/audit/one", &batch(1, 1)).ok().map(|it| it.code)
    };
    assert_eq!(post(Some("client-one")), Some(200));
    for _ in 0..5 {
        assert_eq!(post(None), None);
        assert_eq!(post(Some("client-two")), None);
    }
    let found = until(|| site.found("kustos-source-refused"));
    assert!(found.body.contains("127.0.0.1"), "{}", found.body);
    daemon.end();
    assert_eq!(site.stored(), once([&batch(1, 1)]));
}
