//! Commands, and decisions that append nothing.

use super::*;
