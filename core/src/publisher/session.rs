//! What a publisher says and hears of its session.

use super::outbox::SavedSession;
use super::window::{Reported, Window};
use super::{Error, Event, Phase, Publisher, Session};
use crate::id::{Endpoint, Epoch, Nonce, PublisherId, Sequence};
use crate::log::Codec;
use crate::message::{History, Message, OpenSession, PublishAck, Refusal, SessionOpened};
use crate::time::Duration;
use crate::trace::{Detachment, Rejection, Trace};

impl Publisher {
    /// Opens the session, or resumes it on a new link. Idempotent by its nonce.
    pub(super) fn open_session(&mut self) {
        if self.session.incarnation == 0 && !self.session.inherited {
            let named = self.connector.history();
            if named != self.session.history && !sabotage!(ContinuesAnotherHistory) {
                // R28: in another history the number may be another session's.
                self.session.continues = 0;
                // And so may be the number in an answer to what was asked before.
                if matches!(self.session.phase, Phase::Opening { .. }) {
                    self.session.history = named;
                    return self.give_up_primary(Detachment::Rerouted);
                }
            }
            self.session.history = named;
        }
        let Some(history) = self.session.history else { return };
        let saved = self.saved_session(history);
        if let Some(outbox) = &mut self.outbox
            && !outbox.may_attempt(saved, &mut self.shared.out)
            && !sabotage!(AttemptsUnstored)
        {
            self.session.phase = Phase::Storing;
            return;
        }
        let open = OpenSession {
            history,
            publisher: self.id,
            nonce: self.session.nonce,
            // R28: names the session that is resumed, or the one that is continued.
            incarnation: self.session.incarnation.max(self.session.continues),
        };
        self.connector.send(&Message::OpenSession(open), &mut self.shared.cx());
        self.session.phase = Phase::Opening { retry_at: self.shared.now + self.config.ack_timeout };
    }

    /// The session as the outbox is to know it.
    fn saved_session(&self, history: History) -> SavedSession {
        let Session { nonce, incarnation, continues, .. } = self.session;
        let attempt = (incarnation == 0).then_some(nonce);
        SavedSession { history, incarnation: incarnation.max(continues), attempt, next: self.window.next() }
    }

    pub(super) fn handle_message(&mut self, message: Message) {
        match message {
            Message::SessionOpened(opened) => self.handle_opened(&opened),
            Message::PublishAck(ack) => self.handle_ack(&ack),
            Message::Refusal { reason, .. } => self.handle_refusal(reason),
            _ => self.reject(Rejection::Unexpected),
        }
    }

    fn reject(&mut self, reason: Rejection) {
        if let Some(link) = self.connector.link() {
            self.shared.out.trace(Trace::Rejected { link, reason });
        }
    }

    fn is_own(&self, history: History, publisher: PublisherId) -> bool {
        publisher == self.id && Some(history) == self.session.history
    }

    fn handle_opened(&mut self, opened: &SessionOpened) {
        let SessionOpened { history, epoch, publisher, incarnation, last_sequence, codecs } = *opened;
        let resumed = self.session.incarnation == incarnation;
        let begun = self.session.incarnation == 0 && incarnation > self.session.continues;
        let own = self.session.incarnation;
        let later = own != 0 && incarnation > own && self.is_own(history, publisher);
        if later && !sabotage!(LaterSessionsUnheeded) {
            // R29: a request that was under way for long began another session after this one expired. What is
            // sent in this one would be taken for another process's.
            self.begin_anew(history);
            // The request may have been answered more than once.
            self.session.continues = incarnation;
            return self.open_session();
        }
        if !self.is_own(history, publisher) || !(resumed || begun) {
            return self.reject(Rejection::WrongHistory);
        }
        if !matches!(self.session.phase, Phase::Opening { .. }) {
            // An attempt was repeated and both were answered.
            return self.acknowledge(last_sequence);
        }
        if begun && !self.session.inherited {
            self.window = Window::after(last_sequence);
        }
        match self.window.compare(last_sequence) {
            Reported::Same | Reported::Forward => {}
            // What was never stored was sent by another process: the outbox is a copy, or an old one.
            Reported::Beyond if begun && sabotage!(MoreThanStoredAccepted) => {
                let tickets = self.window.drain();
                self.complete(tickets, Ok(()));
                self.window = Window::after(last_sequence);
            }
            Reported::Beyond if begun => return self.end(Error::Fenced { incarnation }),
            // It has not what was acknowledged, or has what was never sent: not the log of this session.
            Reported::Back | Reported::Beyond => {
                self.reject(Rejection::WrongHistory);
                return self.give_up_primary(Detachment::Refused);
            }
        }
        self.connector.confirm();
        if begun && self.begin_session(history, incarnation) {
            return;
        }
        self.session.phase = Phase::Open;
        if begun || !sabotage!(CodecsStick) {
            self.session.codecs = codecs;
        }
        self.shared.out.trace(Trace::SessionOpened { publisher, incarnation });
        let codec = self.config.compression;
        if codec != Codec::None && !codecs.contains(codec) {
            self.shared.out.trace(Trace::Uncompressed { codec });
        }
        self.announce(epoch);
        let tickets = self.window.acknowledge(last_sequence);
        self.complete(tickets, Ok(()));
        self.resend(self.window.first_unacknowledged());
        self.cut();
    }

    /// Takes the session's number, or asks for another one first: says whether it does. R28: an earlier
    /// process asked for this session and did not see the answer. Another process that was started with a
    /// copy of its outbox may hear the same: only one of them can continue it.
    fn begin_session(&mut self, history: History, incarnation: u64) -> bool {
        let again =
            self.outbox.as_ref().is_some_and(|outbox| outbox.unresolved && !sabotage!(UnansweredTaken));
        if again {
            self.session.continues = incarnation;
            self.session.inherited = true;
            self.session.nonce = Nonce(self.shared.rng.next_u128());
        } else {
            self.session.incarnation = incarnation;
            self.window.readdress(incarnation);
        }
        let saved = SavedSession { attempt: None, ..self.saved_session(history) };
        if let Some(outbox) = &mut self.outbox {
            outbox.opened(saved, &mut self.shared.out);
        }
        if again {
            self.open_session();
        }
        again
    }

    fn announce(&mut self, epoch: Epoch) {
        if let Some((endpoint, _)) = self.connector.primary()
            && !self.connected
        {
            let endpoint = endpoint.clone();
            self.connected = true;
            self.shared.out.event(Event::Connected { endpoint, epoch });
        }
    }

    fn handle_ack(&mut self, ack: &PublishAck) {
        let own = self.is_own(ack.history, ack.publisher);
        if !own || ack.incarnation != self.session.incarnation {
            return self.reject(Rejection::WrongHistory);
        }
        self.acknowledge(ack.last_sequence);
    }

    /// Acknowledgements are cumulative and never go back.
    fn acknowledge(&mut self, last: Sequence) {
        match self.window.compare(last) {
            Reported::Back | Reported::Same => {}
            Reported::Beyond => self.reject(Rejection::Unexpected),
            Reported::Forward => {
                let tickets = self.window.acknowledge(last);
                self.progress_at = self.shared.now;
                self.answered_gap = None;
                self.complete(tickets, Ok(()));
                self.cut();
            }
        }
    }

    fn handle_refusal(&mut self, reason: Refusal) {
        match reason {
            Refusal::NotPrimary { primary, epoch } => self.handle_not_primary(primary, epoch),
            Refusal::Electing { .. } if sabotage!(UnknownAtOnce) && !self.window.is_empty() => {
                self.handle_unknown_session();
            }
            Refusal::Electing { retry_after } => self.open_later(retry_after),
            Refusal::Busy { publisher, expect, retry_after } if publisher == self.id => {
                self.pause(expect, retry_after);
            }
            Refusal::Gap { publisher, expect } if publisher == self.id => self.handle_gap(expect),
            Refusal::UnknownSession { publisher } if publisher == self.id => self.handle_unknown_session(),
            Refusal::Fenced { publisher, incarnation } if publisher == self.id => {
                self.handle_fenced(incarnation)
            }
            Refusal::LineageChanged { history } => self.handle_lineage_changed(history),
            Refusal::Invalid { .. } => self.give_up_primary(Detachment::Refused),
            _ => self.reject(Rejection::Unexpected),
        }
    }

    fn handle_not_primary(&mut self, hint: Option<Endpoint>, epoch: Epoch) {
        self.connector.not_primary(hint, epoch, &mut self.shared.cx());
        self.detached(Detachment::Refused);
    }

    /// The primary's epoch is not committed yet: the session is resumed when it is.
    fn open_later(&mut self, retry_after: Duration) {
        let retry_at = self.shared.put_off(retry_after, &self.config.timing);
        self.session.phase = Phase::Opening { retry_at };
    }

    /// A limit was reached: nothing from `expect` on was taken.
    fn pause(&mut self, expect: Sequence, retry_after: Duration) {
        match self.session.phase {
            Phase::Opening { .. } => self.open_later(retry_after),
            Phase::Open => {
                let until = self.shared.put_off(retry_after, &self.config.timing);
                self.session.phase = Phase::Paused { until, from: expect };
            }
            // Said once for every frame in flight; or too late to matter.
            Phase::Paused { .. } | Phase::Detached | Phase::Storing | Phase::Ended(_) => {}
        }
    }

    /// Go back to what the primary expects. That is no acknowledgement of what lies below: it may
    /// hold it uncommitted.
    fn handle_gap(&mut self, expect: Sequence) {
        if sabotage!(GapsEnd) {
            return self.end(Error::Fenced { incarnation: 0 });
        }
        if self.session.phase != Phase::Open || self.answered_gap == Some(expect) {
            return;
        }
        if expect > self.window.next() {
            return self.reject(Rejection::Unexpected);
        }
        if expect < self.window.first_unacknowledged() {
            // It lacks what was acknowledged: not the log of this session.
            self.reject(Rejection::WrongHistory);
            return self.give_up_primary(Detachment::Refused);
        }
        if sabotage!(GapsAcknowledge) {
            let tickets = self.window.acknowledge(expect - 1);
            self.complete(tickets, Ok(()));
        }
        self.answered_gap = Some(expect);
        self.resend(expect);
    }

    /// R29: the primary does not know the session. What was sent stays unknown.
    fn handle_unknown_session(&mut self) {
        match (self.session.history, self.session.incarnation) {
            (Some(history), incarnation) if incarnation.max(self.session.continues) != 0 => {
                self.begin_anew(history);
                self.open_session();
            }
            _ => self.reject(Rejection::Unexpected),
        }
    }

    fn handle_lineage_changed(&mut self, to: History) {
        let Some(from) = self.session.history else { return self.reject(Rejection::Unexpected) };
        if !self.connector.believes(from, to, &mut self.shared.cx()) {
            self.reject(Rejection::WrongHistory);
            return self.give_up_primary(Detachment::Refused);
        }
        if self.session.incarnation.max(self.session.continues) != 0 {
            self.shared.out.event(Event::LineageChanged { from, to });
        }
        self.begin_anew(to);
        self.open_session();
    }

    /// R29: what was sent and not acknowledged is unknown and never sent again; what was not sent
    /// goes on in a new session.
    fn begin_anew(&mut self, history: History) {
        if let Some(lineage) = self.session.history.map(|history| history.lineage) {
            if let Some(outbox) = &mut self.outbox {
                outbox.set_aside(self.window.first_unacknowledged() - 1, &mut self.shared.out);
            }
            let tickets = self.window.drain();
            let unknown = Err(Error::Unknown { lineage });
            self.complete(tickets, sabotage!(UnknownAcknowledged => Ok(()); unknown));
        }
        self.window = Window::after(0);
        self.answered_gap = None;
        self.session.history = Some(history);
        self.session.nonce = Nonce(self.shared.rng.next_u128());
        (self.session.incarnation, self.session.continues, self.session.inherited) = (0, 0, false);
    }

    /// Another process has opened a session with this identity: everything ends here. A publisher that
    /// has none yet continues it, and ends the other.
    fn handle_fenced(&mut self, incarnation: u64) {
        if incarnation <= self.session.incarnation.max(self.session.continues) {
            return self.reject(Rejection::Unexpected);
        }
        if sabotage!(FencedContinues) {
            self.session.inherited |= self.session.incarnation != 0;
            self.session.incarnation = 0;
            self.session.nonce = Nonce(self.shared.rng.next_u128());
            self.session.continues = incarnation;
            return self.open_session();
        }
        if self.session.incarnation == 0 && !self.session.inherited {
            self.session.continues = incarnation;
            return self.open_session();
        }
        self.end(Error::Fenced { incarnation });
    }
}
