//! The jars of Apache Kafka, got through Maven.

use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the broker that everything is tested against.
pub const KAFKA_VERSION: &str = "4.1.1";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bkes</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>KAFKA_VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;

/// The folder with the jars of the broker; the first call asks Maven for them.
pub fn jars(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("jars-{KAFKA_VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    needs("mvn", "Maven gets the jars of Kafka (package `maven`)")?;
    // Filled beside and renamed: a folder of this name is complete.
    let filling = cache.join(format!("jars-{KAFKA_VERSION}.{}", std::process::id()));
    fs::create_dir_all(&filling)?;
    fs::write(filling.join("pom.xml"), POM.replace("KAFKA_VERSION", KAFKA_VERSION))?;
    eprintln!("getting Apache Kafka {KAFKA_VERSION} through Maven");
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."])
        .current_dir(&filling)
        .output()
        .context("mvn")?;
    let complete = output.status.success()
        && filling.join(format!("kafka-clients-{KAFKA_VERSION}.jar")).is_file()
        && filling.join(format!("kafka_2.13-{KAFKA_VERSION}.jar")).is_file();
    if !complete {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        fs::remove_dir_all(&filling)?;
        bail!("Maven could not get the jars of Kafka {KAFKA_VERSION}:\n{said}");
    }
    if fs::rename(&filling, &folder).is_err() {
        // Another run was faster, and its jars are the same.
        fs::remove_dir_all(&filling)?;
    }
    Ok(folder)
}

/// An error that says what is missing, and what for, when `program` cannot be run.
pub fn needs(program: &str, what_for: &str) -> anyhow::Result<()> {
    let found = Command::new(program).arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        bail!("`{program}` is missing: {what_for}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_it_is_for() {
        let error = needs("no-such-java", "it runs the broker").expect_err("it is not there");
        assert_eq!(error.to_string(), "`no-such-java` is missing: it runs the broker");
    }
}
