//! Sessions on real threads with real loopback sockets.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn start(tick_ms: u64) -> IngestRuntime {
    IngestRuntime::start(Options {
        tick: Duration::from_millis(tick_ms),
        tcp_lanes: 1,
    })
    .unwrap()
}

fn wait<T: Send + 'static>(task: JoinHandle<T>) -> Result<T, tokio::task::JoinError> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .expect("no result in 10 s")
    })
}

#[test]
fn a_panic_ends_one_session_alone() {
    let ingest = start(5);
    let handle = ingest.handle();
    let other = handle.spawn(Carrier::Tcp, |_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        7
    });
    let bad = handle
        .spawn(Carrier::Tcp, |_| async { panic!("garbage from a camera") })
        .unwrap();
    assert!(wait(bad).unwrap_err().is_panic());
    assert_eq!(wait(other.unwrap()).unwrap(), 7);
    assert_eq!(handle.tcp[0].sessions(), 0, "both are counted out");
    ingest.shutdown();
}

/// Sends `messages` of one byte, one each 5 ms, and returns how often the lane woke until a session
/// there had read them all.
fn turns_for(messages: u32, tick_ms: u64, carrier: Carrier) -> u64 {
    let ingest = start(tick_ms);
    let handle = ingest.handle();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let sender = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        for _ in 0..messages {
            std::io::Write::write_all(&mut socket, b"x").unwrap();
            thread::sleep(Duration::from_millis(5));
        }
    });
    let before = handle.turns();
    let reader = handle.spawn(carrier, |_| async move {
        let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    assert_eq!(wait(reader.unwrap()).unwrap(), messages as usize);
    sender.join().unwrap();
    let turns = handle.turns() - before;
    ingest.shutdown();
    turns
}

#[test]
fn a_ticked_lane_wakes_once_a_tick_whatever_arrives() {
    let turns = turns_for(100, 50, Carrier::Tcp);
    assert!(
        (5..=40).contains(&turns),
        "100 arrivals in 0.5 s woke it {turns} times"
    );
}

#[test]
fn an_at_once_lane_does_not_wait_for_ticks() {
    let turns = turns_for(20, 1000, Carrier::Udp);
    assert!(turns <= 2, "the ticked lane next to it woke {turns} times");
}

/// Time for ten round trips to a peer that answers after 5 ms, on a lane with a tick of 100 ms.
fn ten_round_trips(at_once: bool) -> Duration {
    let ingest = start(100);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        for _ in 0..10 {
            let mut byte = [0];
            std::io::Read::read_exact(&mut socket, &mut byte).unwrap();
            thread::sleep(Duration::from_millis(5));
            std::io::Write::write_all(&mut socket, &byte).unwrap();
        }
    });
    let task = ingest.handle().spawn(Carrier::Tcp, |lane| async move {
        if at_once {
            lane.wake_at_once(Duration::from_secs(5));
        }
        let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let began = Instant::now();
        for _ in 0..10 {
            socket.write_all(b"x").await.unwrap();
            socket.read_u8().await.unwrap();
        }
        began.elapsed()
    });
    let elapsed = wait(task.unwrap()).unwrap();
    ingest.shutdown();
    echo.join().unwrap();
    elapsed
}

#[test]
fn a_handshake_need_not_wait_for_ticks() {
    let (ticked, at_once) = (ten_round_trips(false), ten_round_trips(true));
    assert!(ticked > Duration::from_millis(300), "{ticked:?} on ticks");
    assert!(
        at_once < ticked / 3,
        "{at_once:?} at once, {ticked:?} on ticks"
    );
}

#[test]
fn a_lane_ticks_faster_while_a_session_has_viewers() {
    let ingest = start(400);
    let handle = ingest.handle();
    let turns_of = |is_live: bool| {
        let before = handle.turns();
        let session = handle.spawn(Carrier::Tcp, move |lane| async move {
            let live = is_live.then(|| lane.live_tick());
            tokio::time::sleep(Duration::from_millis(800)).await;
            drop(live);
        });
        wait(session.unwrap()).unwrap();
        handle.turns() - before
    };
    let turns = [turns_of(false), turns_of(true), turns_of(false)];
    assert!(
        turns[0] <= 6 && turns[1] >= 10 && turns[2] <= 6,
        "{turns:?}"
    );
    ingest.shutdown();
}

#[test]
fn absurd_options_are_refused() {
    let options = Options {
        tick: Duration::ZERO,
        tcp_lanes: 1,
    };
    assert!(matches!(IngestRuntime::start(options), Err(Error::Tick(_))));
    let options = Options {
        tick: Duration::from_millis(50),
        tcp_lanes: 0,
    };
    assert!(matches!(
        IngestRuntime::start(options),
        Err(Error::Lanes(0))
    ));
}

/// One session never runs dry; returns how often it was polled between two messages to another one,
/// at most.
fn polls_between_messages(carrier: Carrier) -> u64 {
    const MESSAGES: usize = 20;
    let ingest = start(5);
    let handle = ingest.handle();
    let polls = Arc::new(AtomicU64::new(0));
    let greedy = Arc::clone(&polls);
    let never_dry = handle.spawn(carrier, |_| {
        std::future::poll_fn(move |context| {
            greedy.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
            yield_to_others(context);
            std::task::Poll::<()>::Pending
        })
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let other = handle.spawn(carrier, |_| async move {
        let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        for _ in 0..MESSAGES {
            let byte = socket.read_u8().await.unwrap();
            socket.write_u8(byte).await.unwrap();
        }
    });
    let (mut socket, _) = listener.accept().unwrap();
    let mut longest = 0;
    for _ in 0..MESSAGES {
        let before = polls.load(Ordering::Relaxed);
        let mut answer = [0];
        std::io::Write::write_all(&mut socket, b"x").unwrap();
        std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
        longest = longest.max(polls.load(Ordering::Relaxed) - before);
    }
    wait(other.unwrap()).unwrap();
    never_dry.unwrap().abort();
    ingest.shutdown();
    longest
}

#[test]
fn a_session_that_never_runs_dry_holds_up_no_other() {
    // As many as a turn may run tasks (8,192) where none looks at the sockets.
    for carrier in [Carrier::Tcp, Carrier::Udp] {
        let polls = polls_between_messages(carrier);
        assert!(
            polls < 2000,
            "{carrier:?}: {polls} turns of it came between"
        );
    }
}
