//! Obeying commands between steps.

use crate::run::{
    Command, Event,
    channel::EventSender,
    event::{Position, TrainerEvent, TrainerState},
};
use crossbeam_channel::{Receiver, TryRecvError};

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// With the next step.
    Continue,
    /// With the next fold.
    SkipFold,
    /// Save and end.
    StopNow,
}

/// The trainer's ear.
pub struct Control {
    commands: Receiver<Command>,
    events: EventSender,
    /// Whether the run ends after this epoch.
    pub stop_after_epoch: bool,
}

impl Control {
    /// Listens to `commands` and acknowledges them on `events`.
    pub fn new(commands: Receiver<Command>, events: EventSender) -> Self {
        Self { commands, events, stop_after_epoch: false }
    }

    /// Obeys what has been asked since the last call. While paused it sleeps in here; a trainer
    /// that nobody can command any more goes on.
    pub fn check(&mut self, at: Position) -> Flow {
        let mut paused = false;
        loop {
            let command = match paused {
                true => match self.commands.recv() {
                    Ok(command) => command,
                    Err(_) => {
                        self.tell(at, TrainerState::Running);
                        return Flow::Continue;
                    }
                },
                false => match self.commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                        return Flow::Continue;
                    }
                },
            };
            match command {
                Command::Pause => {
                    if !paused {
                        paused = true;
                        self.tell(at, TrainerState::Paused);
                    }
                }
                Command::Resume => {
                    if paused {
                        paused = false;
                        self.tell(at, self.running());
                    }
                }
                Command::SkipFold => {
                    if paused {
                        self.tell(at, self.running());
                    }
                    return Flow::SkipFold;
                }
                Command::StopAfterEpoch => {
                    self.stop_after_epoch = true;
                    self.tell(at, TrainerState::StoppingAfterEpoch);
                    if paused {
                        self.tell(at, TrainerState::Paused);
                    }
                }
                Command::StopNow => {
                    self.tell(at, TrainerState::Stopping);
                    return Flow::StopNow;
                }
            }
        }
    }

    fn running(&self) -> TrainerState {
        match self.stop_after_epoch {
            true => TrainerState::StoppingAfterEpoch,
            false => TrainerState::Running,
        }
    }

    fn tell(&self, at: Position, state: TrainerState) {
        self.events.send(Event::Trainer(TrainerEvent { at, state }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::channel::channel;

    fn states(line: &crate::run::channel::Line) -> Vec<TrainerState> {
        line.events
            .try_iter()
            .filter_map(|e| match e.event {
                Event::Trainer(t) => Some(t.state),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn pause_holds_until_resume() {
        let (events, commands, line) = channel();
        let mut control = Control::new(commands, events);
        line.commands.send(Command::Pause).unwrap();
        let at = Position { fold: 1, epoch: 3, step: 41 };
        let thread = std::thread::spawn(move || control.check(at));
        let paused = line.events.recv().unwrap().event;
        assert_eq!(paused, Event::Trainer(TrainerEvent { at, state: TrainerState::Paused }));
        assert!(!thread.is_finished());
        line.commands.send(Command::Resume).unwrap();
        assert_eq!(thread.join().unwrap(), Flow::Continue);
        assert_eq!(states(&line), [TrainerState::Running]);
    }

    #[test]
    fn a_pause_can_be_left_by_skipping_or_stopping() {
        for (command, flow) in
            [(Command::SkipFold, Flow::SkipFold), (Command::StopNow, Flow::StopNow)]
        {
            let (events, commands, line) = channel();
            line.commands.send(Command::Pause).unwrap();
            line.commands.send(command).unwrap();
            let mut control = Control::new(commands, events);
            assert_eq!(control.check(Position::default()), flow);
        }
    }

    #[test]
    fn a_view_that_goes_while_paused_does_not_hold_training_for_ever() {
        let (events, commands, line) = channel();
        line.commands.send(Command::Pause).unwrap();
        drop(line);
        let mut control = Control::new(commands, events);
        assert_eq!(control.check(Position::default()), Flow::Continue);
    }
}
