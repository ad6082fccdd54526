//! The commented experiment files that `tiltmeter init` writes.

/// A template's name and text.
pub const TEMPLATES: [(&str, &str); 3] = [
    ("quickstart", include_str!("../../templates/quickstart.toml")),
    ("paper", include_str!("../../templates/paper.toml")),
    ("defences", include_str!("../../templates/defences.toml")),
];

/// The text of a template.
pub fn template(name: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
