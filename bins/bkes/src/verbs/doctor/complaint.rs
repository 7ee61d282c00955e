//! What is told: facts, and complaints with their cures.

/// How much a complaint matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// A risk.
    Warning,
    /// Events are lost or will be, or calls are refused.
    Problem,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        }
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of thing, for programs.
    pub kind: &'static str,
    /// What was found, with its values. It may have words of brokers and servers.
    pub what: String,
    /// A command that cures it, or what to do where no command does.
    pub cure: Option<String>,
}

impl Complaint {
    /// One without a cure.
    pub fn new(severity: Severity, kind: &'static str, what: impl Into<String>) -> Complaint {
        Complaint { severity, kind, what: what.into(), cure: None }
    }

    /// With what cures it.
    #[must_use]
    pub fn cured_by(self, cure: impl Into<String>) -> Complaint {
        Complaint { cure: Some(cure.into()), ..self }
    }
}

/// Something that is neither right nor wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// How it is.
    pub value: String,
}
