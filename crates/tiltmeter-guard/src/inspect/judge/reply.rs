//! Reads the ratings in a reply.

/// What a reply says of one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rating {
    /// A rating from 0 to 100.
    Of(u8),
    /// Nothing.
    Missing,
    /// More than one thing.
    Twice,
}

/// Reads lines of a number, a colon and a rating. A fence of code around them is passed over.
///
/// # Errors
/// Where there is a line of any other form, or a number that no example has.
pub(super) fn read(text: &str, count: usize) -> Result<Vec<Rating>, String> {
    let mut ratings = vec![Rating::Missing; count];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("```")) {
        let (number, rating) = line_of(line).ok_or("it has a line that is no rating")?;
        let place = number.checked_sub(1).and_then(|index| ratings.get_mut(index));
        let place = place.ok_or_else(|| format!("it rates an example {number}, and there are {count}"))?;
        *place = if *place == Rating::Missing { Rating::Of(rating) } else { Rating::Twice };
    }
    Ok(ratings)
}

fn line_of(line: &str) -> Option<(usize, u8)> {
    let (number, rating) = line.split_once(':')?;
    let digits = |text: &str| {
        let text = text.trim();
        let is_number = (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<usize>().ok()).flatten()
    };
    let rating = u8::try_from(digits(rating)?).ok().filter(|&rating| rating <= 100)?;
    Some((digits(number)?, rating))
}

#[cfg(test)]
mod tests {
    use super::Rating::{Missing, Of, Twice};
    use super::*;

    #[test]
    fn replies_are_read_strictly() {
        type Expected = Option<&'static [Rating]>;
        let cases: [(&str, Expected); 13] = [
            ("1: 0\n2: 100", Some(&[Of(0), Of(100)])),
            (" 2 : 7 \n\n1:3\n", Some(&[Of(3), Of(7)])),
            ("```\n1: 5\n2: 6\n```", Some(&[Of(5), Of(6)])),
            ("1: 0", Some(&[Of(0), Missing])),
            ("", Some(&[Missing, Missing])),
            ("1: 0\n1: 0\n2: 1", Some(&[Twice, Of(1)])),
            ("1: 101\n2: 0", None),
            ("1: 0\n3: 0", None),
            ("0: 0", None),
            ("1: -5", None),
            ("1: 50%\n2: 0", None),
            ("Here you are:\n1: 0\n2: 0", None),
            ("1: 0 2: 0", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, 2).ok().as_deref(), expected, "{text:?}");
        }
    }
}
