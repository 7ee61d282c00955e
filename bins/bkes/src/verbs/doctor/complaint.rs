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

/// One thing that was found. What is more than a note has a cure: there is no other way to make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    severity: Severity,
    kind: &'static str,
    what: String,
    cure: Option<String>,
}

impl Complaint {
    /// What is worth knowing, and needs no cure.
    pub fn note(kind: &'static str, what: impl Into<String>) -> Complaint {
        Complaint { severity: Severity::Note, kind, what: what.into(), cure: None }
    }

    /// A risk, and what cures it.
    pub fn warning(kind: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Complaint {
        Complaint { severity: Severity::Warning, kind, what: what.into(), cure: Some(cure.into()) }
    }

    /// What is wrong, and what cures it.
    pub fn problem(kind: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Complaint {
        Complaint { severity: Severity::Problem, kind, what: what.into(), cure: Some(cure.into()) }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What kind of thing, for programs.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What was found, with its values. It may have words of brokers and servers.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// A command that cures it, or what to do where no command does.
    pub fn cure(&self) -> Option<&str> {
        self.cure.as_deref()
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
