//! A node that panics has broken one of its own invariants. That is a finding of the run, not the end of
//! the program.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic within a run is not printed, and what the run reports says where it was.
pub fn keep_quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if RUNNING.get() {
            PLACE.set(info.location().map_or_else(String::new, |place| format!(" at {place}")));
        } else {
            usual(info);
        }
    }));
}

/// Does something that may panic. `Err`: what the panic said.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    RUNNING.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    RUNNING.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        format!("{text}{}", PLACE.take())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_result() {
        assert_eq!(catch(|| 1), Ok(1));
        assert!(catch(|| panic!("rule {}", 6)).is_err_and(|text: String| text.contains("rule 6")));
    }
}
