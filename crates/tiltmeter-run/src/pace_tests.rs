//! The pace against servers of several ways to count, on a simulated clock.

use std::collections::VecDeque;

use super::*;

fn settings(ceiling: u32) -> PaceSettings {
    PaceSettings { ceiling, requests_per_minute: None, tokens_per_minute: None, is_served: true }
}

/// How a server counts.
#[derive(Clone, Copy, Debug)]
enum Cap {
    /// At most so many in any second; says exactly when the next is let in.
    Sliding(usize),
    /// The same, but always asks to wait for a second.
    SlidingRounded(usize),
    /// At most so many in any second; does not say how long to wait.
    SlidingSilent(usize),
    /// At most so many from one full second of the clock to the next; says when that is.
    Fixed(usize),
    /// The same, but does not say when.
    FixedSilent(usize),
    /// So many a second one by one: no burst at all.
    Even(f64),
    /// None, but each so-many-th request is refused all the same.
    Moody(usize),
    /// None.
    Unlimited,
}

/// What came of it: requests sent, requests refused, seconds.
fn play(cap: Cap, ceiling: u32, wanted: usize, latency: Duration) -> (usize, usize, f64) {
    let pacer = Pacer::new(settings(ceiling));
    let origin = Instant::now();
    let mut now = origin;
    let mut let_in: VecDeque<Instant> = VecDeque::new();
    // Replies on their way: when, start, and, where refused, the wait that is asked for, if any.
    let mut coming: Vec<(Instant, Instant, Option<Option<Duration>>)> = Vec::new();
    let (mut sent, mut refused, mut done, mut waiting) = (0, 0, 0, wanted);
    while done < wanted {
        coming.retain(|&(at, start, wait)| {
            if at > now {
                return true;
            }
            match wait {
                None => {
                    done += 1;
                    pacer.accepted(now, None, 0, 0);
                }
                Some(wait) => {
                    waiting += 1;
                    let mut error = ModelError::new(ErrorKind::RateLimited, "slow down");
                    error.retry_after = wait;
                    pacer.failed(now, start, &error, SECOND);
                }
            }
            false
        });
        while waiting > 0 && pacer.try_start(now, 0).is_ok() {
            waiting -= 1;
            sent += 1;
            // The clock of fixed windows is not the client's: its seconds begin elsewhere.
            let into_second = (now - origin + Duration::from_millis(370)).subsec_nanos();
            let into_second = Duration::from_nanos(into_second.into());
            let counted =
                if matches!(cap, Cap::Fixed(_) | Cap::FixedSilent(_)) { into_second } else { SECOND };
            while let_in
                .front()
                .is_some_and(|&at| now - at > counted || (counted == SECOND && now - at == SECOND))
            {
                let_in.pop_front();
            }
            let wait = match cap {
                Cap::Unlimited => None,
                Cap::Moody(each) => (sent % each == 0).then(|| Some(Duration::from_millis(10))),
                Cap::Sliding(most)
                | Cap::SlidingRounded(most)
                | Cap::SlidingSilent(most)
                | Cap::Fixed(most)
                | Cap::FixedSilent(most)
                    if let_in.len() < most =>
                {
                    None
                }
                Cap::Sliding(_) => {
                    Some(Some(SECOND.saturating_sub(now.duration_since(*let_in.front().unwrap()))))
                }
                Cap::SlidingRounded(_) => Some(Some(SECOND)),
                Cap::SlidingSilent(_) | Cap::FixedSilent(_) => Some(None),
                Cap::Fixed(_) => Some(Some(SECOND.saturating_sub(into_second))),
                Cap::Even(rate) => let_in.back().and_then(|&last| {
                    let due = last + Duration::from_secs_f64(1.0 / rate);
                    (now < due).then(|| Some(due - now))
                }),
            };
            if wait.is_none() {
                let_in.push_back(now);
            } else {
                refused += 1;
            }
            coming.push((now + latency, now, wait));
        }
        now += Duration::from_millis(1);
        assert!(now - origin < Duration::from_secs(1000), "{cap:?} hangs at {done}");
    }
    (sent, refused, (now - origin).as_secs_f64())
}

#[test]
fn a_cap_is_found_with_little_waste_and_little_loss() {
    let latency = Duration::from_millis(50);
    for (cap, wanted, most_waste, most_time) in [
        // The ideal time is the number over 50.
        (Cap::Sliding(50), 150, 0.16, 3.3),
        (Cap::Sliding(50), 1000, 0.05, 22.0),
        (Cap::Even(50.0), 1000, 0.05, 22.0),
        (Cap::SlidingRounded(50), 3000, 0.05, 66.0),
    ] {
        for ceiling in [16, 100] {
            let (sent, refused, seconds) = play(cap, ceiling, wanted, latency);
            println!("{cap:?} {ceiling}: {refused} of {sent} refused, {seconds:.2} s");
            assert!(refused as f64 <= most_waste * sent as f64, "{cap:?} {ceiling}: {refused} of {sent}");
            assert!(seconds <= most_time, "{cap:?} {ceiling}: {seconds} s");
        }
    }
}

#[test]
fn caps_of_several_sizes_are_found_with_hints_and_without() {
    let latency = Duration::from_millis(50);
    for most in [10, 50, 300] {
        // A server that asks for a second whatever is left of its window makes each refusal cost that second: where ten
        // requests are a second's worth, finding the rate takes a fifth of the first minute.
        let rounded = if most == 10 { 1.25 } else { 1.12 };
        for (cap, most_time) in [
            (Cap::Sliding(most), 1.1),
            (Cap::SlidingRounded(most), rounded),
            (Cap::SlidingSilent(most), 1.15),
            (Cap::Fixed(most), 1.03),
            (Cap::FixedSilent(most), 1.1),
        ] {
            for ceiling in [32, 100] {
                // A minute's worth.
                let (sent, refused, seconds) = play(cap, ceiling, most * 60, latency);
                let (waste, time) = (refused as f64 / sent as f64, seconds / 60.0);
                println!("{cap:?} {ceiling}: {waste:.3} refused, {time:.3} of the ideal time");
                assert!(waste <= 0.05 && time <= most_time, "{cap:?} {ceiling}: {waste}, {time}");
            }
        }
    }
}

#[test]
fn without_a_cap_the_ceiling_is_reached_soon() {
    // The floor is 24 times 50 ms.
    let (_, refused, seconds) = play(Cap::Unlimited, 100, 2400, Duration::from_millis(50));
    println!("{seconds} s");
    assert_eq!(refused, 0);
    assert!(seconds < 1.9, "{seconds} s");
}

#[test]
fn refusals_that_do_not_hang_on_the_rate_do_not_bring_it_down() {
    for each in [50, 10, 2] {
        let wanted = 2000;
        let (sent, refused, seconds) = play(Cap::Moody(each), 16, wanted, Duration::from_millis(50));
        println!("each {each}-th: {refused} of {sent} refused, {seconds} s");
        // A pause of 10 ms for each refusal is the server's own wish; 16 in flight give at most 320 a second.
        let own = refused as f64 * 0.010 + sent as f64 / 320.0;
        assert!(seconds < 3.0 * own + 4.0, "each {each}-th: {seconds} s, {own} s would do");
    }
}

#[test]
fn requests_and_tokens_per_minute_are_kept() {
    let start = Instant::now();
    let started = |pacer: &Pacer, expected: u64, used: u64| {
        let (mut now, mut count) = (start, 0);
        while now - start <= Duration::from_secs(30) {
            if pacer.try_start(now, expected).is_ok() {
                pacer.accepted(now, None, expected, used);
                count += 1;
            }
            now += Duration::from_millis(10);
        }
        count
    };
    let pacer = Pacer::new(PaceSettings { requests_per_minute: Some(60), ..settings(100) });
    assert_eq!(started(&pacer, 0, 0), 31);
    // 60,000 tokens a minute are 1,000 a second; 500 were expected each time, and 1,500 came.
    let pacer = Pacer::new(PaceSettings { tokens_per_minute: Some(60_000), ..settings(100) });
    assert_eq!(started(&pacer, 500, 1500), 21);
    // And where fewer came than were expected.
    let pacer = Pacer::new(PaceSettings { tokens_per_minute: Some(60_000), ..settings(100) });
    assert_eq!(started(&pacer, 5000, 1500), 21);
}

#[test]
fn what_a_server_says_of_its_limits_is_kept() {
    let start = Instant::now();
    let after = |limits: RateLimits, used: u64| {
        let pacer = Pacer::new(settings(100));
        pacer.try_start(start, 10).unwrap();
        pacer.accepted(start, Some(&limits), 10, used);
        pacer.try_start(start, 10).err().flatten().map(|at| (at - start).as_secs())
    };
    let limit = |most, left, reset| RateLimit {
        limit: Some(most),
        remaining: Some(left),
        reset: Some(Duration::from_secs(reset)),
    };
    assert_eq!(after(RateLimits { requests: limit(500, 0, 7), ..RateLimits::default() }, 10), Some(7));
    assert_eq!(after(RateLimits { requests: limit(500, 1, 7), ..RateLimits::default() }, 10), None);
    // A day's limit is left to its refusals.
    assert_eq!(after(RateLimits { requests: limit(500, 0, 9999), ..RateLimits::default() }, 10), None);
    // A tenth of the tokens comes back in a tenth of the time.
    assert_eq!(after(RateLimits { tokens: limit(1000, 0, 60), ..RateLimits::default() }, 100), Some(6));
}

#[test]
fn one_refusal_pauses_all_and_a_server_that_is_down_is_asked_one_at_a_time() {
    let start = Instant::now();
    let pacer = Pacer::new(settings(100));
    for _ in 0..4 {
        pacer.try_start(start, 0).unwrap();
    }
    assert_eq!(pacer.try_start(start, 0), Err(None));
    let mut error = ModelError::new(ErrorKind::RateLimited, "slow down");
    error.retry_after = Some(Duration::from_secs(20));
    assert_eq!(pacer.failed(start, start, &error, SECOND), Some(Duration::from_secs(20)));
    assert_eq!(pacer.try_start(start + SECOND, 0), Err(Some(start + Duration::from_secs(20))));
    let pacer = Pacer::new(settings(100));
    pacer.try_start(start, 0).unwrap();
    let error = ModelError::new(ErrorKind::Unreachable, "gone");
    pacer.failed(start, start, &error, 2 * SECOND);
    assert_eq!(pacer.try_start(start + SECOND, 0), Err(Some(start + 2 * SECOND)));
    pacer.try_start(start + 2 * SECOND, 0).unwrap();
    assert_eq!(pacer.try_start(start + 2 * SECOND, 0), Err(None));
    pacer.accepted(start + 3 * SECOND, None, 0, 0);
    for _ in 0..4 {
        pacer.try_start(start + 3 * SECOND, 0).unwrap();
    }
}
