//! Waits for a condition, with a deadline and the reason why it does not hold yet.

use crate::{Error, Result};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often the condition is checked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Calls `look` repeatedly until it returns a value; its errors are reasons why the condition does
/// not hold yet.
///
/// # Errors
/// [`Error::TimedOut`] with the last reason.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let mut why = "no answer".to_owned();
    let looking = async {
        loop {
            match look().await {
                Ok(value) => return value,
                Err(reason) => why = reason,
            }
            sleep(LOOK_INTERVAL).await;
        }
    };
    match timeout(within, looking).await {
        Ok(value) => Ok(value),
        Err(_) => Err(Error::TimedOut {
            what: what.to_owned(),
            seconds: within.as_secs(),
            why,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_awaited_and_its_last_reason_reported() {
        let mut looks = 0;
        let found = until("it is 3", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("it is {looks}"))
            }
        });
        assert_eq!(found.await.unwrap(), 3);
        let never = until::<()>("x", Duration::from_millis(250), async || {
            Err("because".to_owned())
        })
        .await;
        assert!(never.unwrap_err().to_string().ends_with("because"));
    }
}
