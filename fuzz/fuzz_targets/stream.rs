//! However a stream of events is cut into pieces, no byte of it is lost or changed, and reading its texts ends.
//!
//! The first byte chooses the protocol, the second how long pieces are; the stream follows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tiltmeter_guard::conversation::Protocol;
use tiltmeter_guard::fuzzing;

const PROTOCOLS: [Protocol; 4] =
    [Protocol::ChatCompletions, Protocol::Responses, Protocol::Messages, Protocol::Other];

fuzz_target!(|bytes: &[u8]| {
    let [which, length, stream @ ..] = bytes else { return };
    let protocol = PROTOCOLS[usize::from(*which) % PROTOCOLS.len()];
    let pieces: Vec<&[u8]> = stream.chunks(1 + usize::from(*length)).collect();
    assert_eq!(fuzzing::stream(protocol, &pieces), stream);
});
