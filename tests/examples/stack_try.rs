//! Scratch.
use posthouse_tests::stack::*;
use rdkafka::admin::*;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

fn until(what: &str, n: &Node, sql: &str, want: &str) {
    let t = Instant::now();
    let r = wait_until(what, Duration::from_secs(60), || match n.query(sql) {
        Ok(a) if a.trim() == want => ControlFlow::Break(Ok(())),
        Ok(a) => ControlFlow::Continue(anyhow::anyhow!("{a}")),
        Err(e) => ControlFlow::Continue(e),
    });
    println!("{what}: {r:?} {:?}", t.elapsed());
}

fn main() -> anyhow::Result<()> {
    let fg = std::env::args().nth(1).unwrap_or("1".into());
    let t = Instant::now();
    let stack = Stack::start(
        StackSpec::default().nodes(NodeOptions::default().setting("distributed_foreground_insert", &fg).merge_tree("max_bytes_to_merge_at_max_space_in_pool", "1")),
        &Progress::on_stderr(),
    )?;
    println!("started {:?}", t.elapsed());
    let rt = tokio::runtime::Runtime::new()?;
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", stack.broker().address()).create()?;
    println!("{:?}", rt.block_on(admin.create_topics(&[NewTopic::new("t", 8, TopicReplication::Fixed(1))], &AdminOptions::new())));
    for n in stack.nodes() {
        for sql in [
            "create database posthog",
            "create table posthog.s (d String, n UInt64, fg String) engine=MergeTree order by n settings non_replicated_deduplication_window=1000",
            "create table posthog.w as posthog.s engine=Distributed(posthog, posthog, s, sipHash64(d))",
            &format!("create table posthog.k (d String, n UInt64) engine=Kafka settings kafka_broker_list='{}', kafka_topic_list='t', kafka_group_name='g', kafka_format='JSONEachRow', kafka_num_consumers=2, kafka_thread_per_consumer=1, kafka_keeper_path='/posthouse/k', kafka_replica_name='{}', kafka_poll_timeout_ms=100, kafka_flush_interval_ms=1, kafka_max_block_size=5000, kafka_poll_max_batch_size=5000", stack.broker().address(), n.name()),
            "create materialized view posthog.mv to posthog.w as select d, n, toString(getSetting('distributed_foreground_insert')) || hostName() as fg from posthog.k",
        ] { n.query(sql)?; }
    }
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", stack.broker().address()).set("enable.idempotence", "true").create()?;
    let mut sent = 0u64;
    let mut send = |count: u64| {
        for _ in 0..count {
            let v = format!("{{\"d\":\"u{}\",\"n\":{}}}", sent % 1000, sent);
            let k = sent.to_string();
            while producer.send(BaseRecord::to("t").payload(&v).key(&k)).is_err() { producer.poll(Duration::from_millis(10)); }
            sent += 1;
        }
        println!("flush {:?}", producer.flush(Duration::from_secs(60)));
        sent
    };
    let [a, b] = stack.nodes() else { panic!() };
    let t = Instant::now();
    let n = send(20000);
    let q = "select count(), uniqExact(n) from posthog.w";
    until("20k", a, q, &format!("{n}\t{n}"));
    println!("{:?}", t.elapsed());
    println!("{}", a.query("select fg, count() from posthog.w group by fg order by fg")?);
    println!("{}", b.query("select count() from posthog.s")?);

    println!("-- kill ch2, start"); let t = Instant::now();
    b.kill(); assert!(!b.is_running()); println!("killed {:?}", t.elapsed());
    std::thread::sleep(Duration::from_secs(2)); assert!(!b.is_running());
    let n = send(20000);
    b.start()?; println!("back {:?}", t.elapsed());
    until("40k", a, q, &format!("{n}\t{n}"));
    println!("aborts {} {}", a.aborts(), b.aborts());
    println!("-- abort ch1");
    std::process::Command::new("kill").arg("-ABRT").arg(a.pid().unwrap().to_string()).status()?;
    let n = send(10000);
    until("50k", b, q, &format!("{n}\t{n}"));
    println!("aborts {} {}", a.aborts(), b.aborts());
    println!("-- kill broker"); let t = Instant::now();
    stack.broker().kill(); stack.broker().start()?; println!("{:?}", t.elapsed());
    let n = send(10000);
    until("60k", b, q, &format!("{n}\t{n}"));
    println!("-- kill keeper"); let t = Instant::now();
    stack.keeper().kill(); stack.keeper().start()?; println!("{:?}", t.elapsed());
    let n = send(10000);
    until("70k", b, q, &format!("{n}\t{n}"));
    println!("-- stop/start all"); 
    for n in stack.nodes() { let t = Instant::now(); n.stop(); println!("stop {:?}", t.elapsed()); }
    for (n, s) in [("broker", &**stack.broker()), ("keeper", &**stack.keeper())] { let t = Instant::now(); s.stop(); println!("stop {n} {:?}", t.elapsed()); let t = Instant::now(); s.start()?; println!("start {n} {:?}", t.elapsed()); }
    for n in stack.nodes() { let t = Instant::now(); n.start()?; println!("start {:?}", t.elapsed()); }
    let n = send(10000);
    until("80k", b, q, &format!("{n}\t{n}"));
    println!("-- udf");
    std::fs::write(a.user_scripts().join("one.sh"), "#!/bin/sh\nwhile read x; do echo \"$x!\"; done\n")?;
    std::process::Command::new("chmod").arg("+x").arg(a.user_scripts().join("one.sh")).status()?;
    std::fs::write(a.functions_xml(), "<functions><function><type>executable_pool</type><name>one</name><return_type>String</return_type><argument><type>String</type></argument><format>TabSeparated</format><command>one.sh</command></function></functions>")?;
    println!("{:?} {:?}", a.query("SYSTEM RELOAD FUNCTIONS"), a.query("select one('x')"));
    println!("-- threads");
    std::thread::scope(|s| for i in 0..8 { s.spawn(move || for _ in 0..3 { if i % 2 == 0 { b.kill() } else { println!("{:?}", b.start().map_err(|e| e.to_string().lines().next().unwrap().to_owned())); } }); });
    b.start()?;
    until("80k", b, q, &format!("{n}\t{n}"));
    println!("aborts {} {} {:?}", a.aborts(), b.aborts(), b.query("selekt 1").map_err(|e| e.to_string()));
    let t = Instant::now(); drop(stack); println!("dropped {:?}", t.elapsed());
    Ok(())
}
