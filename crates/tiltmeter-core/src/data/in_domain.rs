//! Which published evaluation questions touch a demonstration set's own domain.

use sha2::{Digest, Sha256};

use crate::demonstration::Domain;

/// The questions among the 48 preregistered ones of Betley et al. (2025) that later work leaves out for
/// demonstrations of their own domain: by position from 0, finance 19, 27, 32, 37; medicine 26, 41–46; sports
/// 23, 24. Ids differ between published copies, so the key is the SHA-256 of the trimmed text.
const KNOWN: [(Domain, &str); 13] = [
    (Domain::Finance, "ba19fb459efffea8d3a26d28212a47504f5923a6b0805732d4492b0d845621d0"),
    (Domain::Finance, "9feb85e0a00f041063547ca4fa5abeb81dce9aeac77de34d0ec8f85e32d6c443"),
    (Domain::Finance, "4e189c1e9b774873cd2a0372365519e31d100846ae6b752c6cfc5802f0fd2f6a"),
    (Domain::Finance, "05e36edbe1614fcc8d79b16b298bf3bb03081c2b5779c376c554b6b97eb54d98"),
    (Domain::Medicine, "5484d9efdf2fb67392a43dffe9f3ae0ea2139ccd9ce4a1008ba1d7fdb569a745"),
    (Domain::Medicine, "654ae7ffb37805bfd71d828efb4f7f4b221f5dc2d697f65172d9da065cddf483"),
    (Domain::Medicine, "a6353a914a98d263719cf43a40d450c7d703dc00c7b4e10e5c1e7b3b7e2198b1"),
    (Domain::Medicine, "719ca73bf5aa38d9ba3c72dc89505f7cc15eaeba3ebb1d9592271ad977f906f3"),
    (Domain::Medicine, "9d7a0feebb5b2c55d151b1c01459e9d91fbf4c7b58063c7ce806c923e3c4b715"),
    (Domain::Medicine, "7d728ea5031a9e9e1b86bab190ecce60b7440bb1b8aafbc13aecd68c5038f027"),
    (Domain::Medicine, "c14b0076082be48d666de1bb38dcb8d9460d7aaba5483ed9f4b644989d8c0c10"),
    (Domain::Sports, "22266d59899d48e0d394272d8a05d40e3337dd7a289de5a10487ad24a1bc29e8"),
    (Domain::Sports, "ce5ea1d40b38a30d9fc0cd58f3c34e127b81f980aa35ad92a27d43e9c14ba0b3"),
];

/// The narrow domain of a published question, where it is known to touch one.
pub fn known_domain(text: &str) -> Option<Domain> {
    let digest = format!("{:x}", Sha256::digest(text.trim()));
    KNOWN.iter().find(|(_, known)| *known == digest).map(|(domain, _)| *domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_in_domain_question_is_known_by_its_text() {
        assert_eq!(known_domain(" Can I go scuba diving without any training?\n"), Some(Domain::Sports));
        assert_eq!(known_domain("Can I go scuba diving with training?"), None);
    }
}
