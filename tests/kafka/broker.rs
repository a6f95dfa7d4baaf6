//! Real Apache Kafka: its jars from Maven Central, once; brokers that each test starts for itself.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use sha2::{Digest, Sha256};

use crate::common::daemon::until;

/// Each jar of the broker, with its hash.
const JARS: &str = include_str!("jars.txt");

/// Where they are had, unless `KUSTOS_TEST_MAVEN` says otherwise.
const CENTRAL: &str = "https://repo1.maven.org/maven2";

/// How long a broker may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The jars, downloaded if need be; `None`, said aloud: they cannot be had, or there is no Java.
pub(crate) fn kafka() -> Option<PathBuf> {
    static ONCE: Mutex<()> = Mutex::new(());
    let _once = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    let skipped = |why: String| {
        let required = std::env::var_os("KUSTOS_TEST_KAFKA").is_some_and(|it| it == "required");
        assert!(!required, "{why}");
        println!("skipped: {why}");
        None
    };
    if Command::new(java()).arg("-version").stderr(Stdio::null()).status().is_err() {
        return skipped("there is no Java to run Kafka with".to_owned());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let dir =
        cache.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into()).join("kustos-tests/kafka");
    fs::create_dir_all(&dir).unwrap();
    // Another test binary may be at it.
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    match download(&dir) {
        Ok(()) => Some(dir),
        Err(error) => skipped(format!("Kafka cannot be had: {error}")),
    }
}

fn download(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let from = std::env::var("KUSTOS_TEST_MAVEN").unwrap_or_else(|_| CENTRAL.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::new();
    for line in JARS.lines() {
        let (want, path) = line.split_once("  ").ok_or("jars.txt is broken")?;
        let file = dir.join(path.rsplit('/').next().ok_or("jars.txt is broken")?);
        if file.is_file() {
            continue;
        }
        let url = format!("{}/{path}", from.trim_end_matches('/'));
        let bytes = runtime
            .block_on(async { client.get(&url).send().await?.error_for_status()?.bytes().await })?;
        let hash: String = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
        if hash != want {
            return Err(format!("{url} is not what it should be").into());
        }
        kustos::durable::write(&file, &bytes)?;
    }
    Ok(())
}

fn java() -> PathBuf {
    let home = std::env::var_os("JAVA_HOME").map(|it| PathBuf::from(it).join("bin/java"));
    home.filter(|it| it.is_file()).unwrap_or_else(|| "java".into())
}

/// A cluster of brokers. They are killed when it is dropped.
pub(crate) struct Brokers {
    dir: tempfile::TempDir,
    children: Vec<Child>,
    ports: Vec<Ports>,
    secured: bool,
}

#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    controller: u16,
    secure: u16,
}

/// What a broker that is secured knows: `Brokers::secured` writes the files.
pub(crate) const PASSWORD: &str = "correct-horse";

impl Brokers {
    /// Starts brokers and waits until they answer; `None`, said aloud: there is no Kafka here.
    pub(crate) fn start(count: usize) -> Option<Brokers> {
        Brokers::start_as(count, false)
    }

    /// One broker that also listens with TLS, where clients show a certificate and say who they are.
    pub(crate) fn start_secured() -> Option<Brokers> {
        Brokers::start_as(1, true)
    }

    fn start_as(count: usize, secured: bool) -> Option<Brokers> {
        let jars = kafka()?;
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<Ports> = (0..count).map(|_| ports()).collect();
        let mut brokers = Brokers { dir, children: Vec::new(), ports, secured };
        if secured {
            certificates(brokers.dir.path());
        }
        brokers.children = (0..count).map(|at| brokers.spawn(&jars, at)).collect();
        brokers.wait();
        Some(brokers)
    }

    fn spawn(&self, jars: &Path, at: usize) -> Child {
        let home = self.dir.path().join(at.to_string());
        fs::create_dir(&home).unwrap();
        let config = home.join("server.properties");
        fs::write(&config, self.properties(at)).unwrap();
        let class_path = format!("{}/*", jars.display());
        let run = |class: &str| {
            let mut java = Command::new(java());
            java.args([
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &class_path,
            ])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"])
            .arg(class);
            java
        };
        let log = File::create(home.join("log")).unwrap();
        let mut format = run("kafka.tools.StorageTool");
        format.args(["format", "-t", "a3VzdG9zLXRlc3RzLTAwMQ", "-c"]).arg(&config);
        if self.secured {
            format
                .args(["--add-scram", &format!("SCRAM-SHA-256=[name=kustos,password={PASSWORD}]")]);
        }
        let formatted = format.stdout(Stdio::null()).stderr(log.try_clone().unwrap()).status();
        assert!(formatted.unwrap().success(), "{}", self.log(at));
        run("kafka.Kafka")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn log(&self, at: usize) -> String {
        fs::read_to_string(self.dir.path().join(at.to_string()).join("log")).unwrap_or_default()
    }

    fn properties(&self, at: usize) -> String {
        let Ports { plain, controller, secure } = self.ports[at];
        let voters: Vec<String> = (1..)
            .zip(&self.ports)
            .map(|(id, it)| format!("{id}@127.0.0.1:{}", it.controller))
            .collect();
        let copies = self.ports.len();
        let dir = self.dir.path().display();
        let common = format!(
            "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={voters}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\nlog.dirs={dir}/{at}/data\n\
             offsets.topic.replication.factor={copies}\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor={copies}\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\nmin.insync.replicas=1\nauto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=500\n\
             message.max.bytes=20000000\nreplica.fetch.max.bytes=20000000\n\
             log.cleaner.dedupe.buffer.size=2000000\nlog.cleaner.backoff.ms=200\n\
             controlled.shutdown.enable=false\nbroker.session.timeout.ms=3000\n",
            id = at + 1,
            voters = voters.join(","),
        );
        let listeners = format!("PLAINTEXT://127.0.0.1:{plain}");
        let own = if self.secured {
            format!(
                "listeners={listeners},SECURE://localhost:{secure},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners={listeners},SECURE://localhost:{secure}\n\
                 ssl.keystore.type=PEM\nssl.keystore.location={dir}/broker.pem\n\
                 ssl.truststore.type=PEM\nssl.truststore.location={dir}/ca.pem\nlistener.name.secure.ssl.client.auth=required\n\
                 listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
                 listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
                 required user_kustos=\"{PASSWORD}\";\n\
                 listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
            )
        } else {
            format!(
                "listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n"
            )
        };
        common + &own
    }

    fn wait(&self) {
        let metadata = || self.observer("nobody").fetch_metadata(None, Duration::from_secs(1)).ok();
        let all = |it: &rdkafka::metadata::Metadata| it.brokers().len() == self.ports.len();
        until(|| metadata().filter(all).map(drop));
    }

    /// The addresses of those that are there from the start.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|it| format!("127.0.0.1:{}", it.plain)).collect()
    }

    /// The address with TLS.
    pub(crate) fn secure_address(&self) -> String {
        format!("localhost:{}", self.ports[0].secure)
    }

    /// A file beside the brokers, such as `ca.pem`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", self.addresses().join(","));
        settings
    }

    /// Alters what the first broker keeps of a partition: one text into another of the same length.
    pub(crate) fn alter(&self, topic: &str, partition: i32, from: &str, to: &str) {
        let log = self.file(&format!("0/data/{topic}-{partition}/00000000000000000000.log"));
        let bytes = fs::read(&log).unwrap();
        let at = bytes.windows(from.len()).position(|it| it == from.as_bytes()).unwrap();
        let file = File::options().write(true).open(&log).unwrap();
        file.write_all_at(to.as_bytes(), at as u64).unwrap();
    }

    /// Sends messages that the broker keeps as one batch, however slow the machine is.
    pub(crate) fn in_one_batch(
        &self,
        topic: &str,
        partition: i32,
        values: impl Iterator<Item = String>,
    ) {
        let mut settings = self.settings();
        let sender = Sender(settings.set("linger.ms", "60000").create().unwrap());
        for value in values {
            let to = With { partition: Some(partition), ..With::default() };
            sender.send(topic, Some(value.as_bytes()), to);
        }
        // It does not wait for the linger to end.
        sender.flush();
    }

    /// `kill -9` of one broker.
    pub(crate) fn murder(&self, at: usize) {
        let id = self.children[at].id().to_string();
        assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success());
    }

    fn admin<T>(&self, ask: impl AsyncFnOnce(AdminClient<DefaultClientContext>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask(self.settings().create().unwrap()))
    }

    /// Makes a topic.
    pub(crate) fn make(&self, topic: &str, partitions: usize) {
        let copies = TopicReplication::Fixed(i32::try_from(self.ports.len()).unwrap());
        let partitions = i32::try_from(partitions).unwrap();
        let made = self.admin(async |admin| {
            let topic = NewTopic::new(topic, partitions, copies);
            admin.create_topics([&topic], &options()).await
        });
        assert!(made.unwrap().iter().all(Result::is_ok));
        let there = || self.observer("nobody").fetch_metadata(Some(topic), PATIENCE).ok();
        let led = |it: &rdkafka::metadata::Metadata| {
            let of = it.topics()[0].partitions();
            i32::try_from(of.len()).unwrap() == partitions && of.iter().all(|it| it.leader() >= 0)
        };
        until(|| there().filter(led).map(drop));
    }

    /// Deletes a topic.
    pub(crate) fn unmake(&self, topic: &str) {
        let unmade = self.admin(async |admin| admin.delete_topics(&[topic], &options()).await);
        assert!(unmade.unwrap().iter().all(Result::is_ok));
        let gone = || {
            let told = self.observer("nobody").fetch_metadata(Some(topic), PATIENCE).ok()?;
            told.topics()[0].error().map(drop)
        };
        until(gone);
    }

    /// Deletes the messages of a partition before that offset.
    pub(crate) fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin(async |admin| admin.delete_records(&list, &options()).await).unwrap();
    }

    /// Looks at a group without being in it.
    pub(crate) fn observer(&self, group: &str) -> BaseConsumer {
        self.settings().set("group.id", group).create().unwrap()
    }

    /// What a group has committed of a topic, by partition.
    pub(crate) fn committed(
        &self,
        observer: &BaseConsumer,
        topic: &str,
        partitions: i32,
    ) -> Vec<Option<u64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let Ok(told) = observer.committed_offsets(list, PATIENCE) else { return Vec::new() };
        let offset = |it: &Offset| it.to_raw().and_then(|it| u64::try_from(it).ok());
        told.elements().iter().map(|it| offset(&it.offset())).collect()
    }

    /// Sends messages.
    pub(crate) fn producer(&self) -> Sender {
        let mut settings = self.settings();
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000");
        settings.set("queue.buffering.max.messages", "200000");
        settings.set("queue.buffering.max.kbytes", "262144");
        Sender(settings.create().unwrap())
    }

    /// Sends messages in transactions.
    pub(crate) fn transactions(&self) -> Sender {
        let mut settings = self.settings();
        let producer: ThreadedProducer<_> =
            settings.set("transactional.id", "tests").create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        Sender(producer)
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Sends messages.
pub(crate) struct Sender(pub(crate) ThreadedProducer<DefaultProducerContext>);

/// What else a message has.
#[derive(Default, Clone, Copy)]
pub(crate) struct With<'a> {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a str>,
    pub(crate) header: Option<(&'a str, &'a str)>,
}

impl Sender {
    /// Sends a message, as soon as there is room for it; `None`: one without a value.
    pub(crate) fn send(&self, topic: &str, value: Option<&[u8]>, with: With<'_>) {
        let record = || {
            let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic);
            record.payload = value;
            record.key = with.key;
            record.partition = with.partition;
            record.headers = with
                .header
                .map(|(key, value)| OwnedHeaders::new().insert(Header { key, value: Some(value) }));
            record
        };
        until(|| self.0.send(record()).ok());
    }

    /// Waits until every message is where it belongs.
    pub(crate) fn flush(&self) {
        self.0.flush(PATIENCE).unwrap();
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

fn ports() -> Ports {
    let free = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (plain, controller, secure) = (free(), free(), free());
    let port = |it: &TcpListener| it.local_addr().unwrap().port();
    Ports { plain: port(&plain), controller: port(&controller), secure: port(&secure) }
}

/// A CA, a certificate of the broker and one of a client, as files.
fn certificates(dir: &Path) {
    let openssl = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        let ran = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=kustos-tests",
    );
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    for name in ["broker", "client"] {
        openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 -extfile names"
        ));
        let read = |ending: &str| fs::read_to_string(dir.join(format!("{name}.{ending}"))).unwrap();
        fs::write(dir.join(format!("{name}.pem")), read("key") + &read("crt")).unwrap();
    }
}
