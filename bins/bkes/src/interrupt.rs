//! Ctrl-C: for a verb that has something to say before it ends, and the end of the process for every other.

use tokio::sync::watch;

/// Where Ctrl-C is told.
#[derive(Clone)]
pub struct Interrupt(watch::Sender<bool>);

/// Who is told of it. As long as one is there, Ctrl-C does not end the process.
pub struct Listener(watch::Receiver<bool>);

impl Interrupt {
    /// One that was not told yet.
    pub fn new() -> Interrupt {
        Interrupt(watch::Sender::new(false))
    }

    /// Tells who listens; whether anybody does, and was not told before.
    pub fn tell(&self) -> bool {
        let is_first = !self.0.send_replace(true);
        is_first && self.0.receiver_count() > 0
    }

    /// Listens from now on.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

impl Listener {
    /// Waits until it is told.
    pub async fn told(&mut self) {
        if self.0.wait_for(|told| *told).await.is_err() {
            // Nobody is left who could tell.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_told_once_and_the_second_time_nobody_is() {
        let interrupt = Interrupt::new();
        let mut listener = interrupt.listen();
        assert!(interrupt.tell());
        listener.told().await;
        assert!(!interrupt.tell(), "who asks twice does not want to wait");
    }

    #[test]
    fn where_nobody_listens_nobody_is_told() {
        let interrupt = Interrupt::new();
        drop(interrupt.listen());
        assert!(!interrupt.tell());
    }
}
