//! The fleet, live, in a terminal.
//!
//! - `mod.rs`: the terminal, and the threads that wait for the fleet
//! - `model.rs`: what is shown, and what keys do
//! - `view.rs`: how it looks
//! - `columns.rs`: the columns that there is room for

mod columns;
mod model;
mod view;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use model::{Model, NEXT_PAGE, PAGE_BEFORE, Wish};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;

use crate::client::Client;
use crate::failure::Failure;
use crate::operation;
use crate::run;
use crate::status::Status;

/// How long a key waits for its effect at most.
const TICK: Duration = Duration::from_millis(50);

/// What a thread that waited for the fleet has to say.
enum News {
    Status(Result<Box<Status>, Failure>, Instant),
    Outcome(Result<String, Failure>),
}

/// Shows the fleet until a key ends it.
pub(crate) fn run(client: &Client, interval: Duration) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage("top needs a terminal; without one, use: preforkctl status".to_owned()));
    }
    // What is wrong from the start is told in the terminal as it was.
    run::status(client)?;
    let mut terminal = ratatui::try_init().map_err(|error| not_usable(&error))?;
    let ended = show(&mut terminal, client, interval);
    ratatui::restore();
    ended.map_err(|error| not_usable(&error))
}

fn not_usable(error: &io::Error) -> Failure {
    Failure::NotDone(format!("cannot use this terminal: {error}"))
}

fn show(terminal: &mut DefaultTerminal, client: &Client, interval: Duration) -> io::Result<()> {
    let (sender, news) = mpsc::channel();
    ask_again_and_again(client.clone(), interval, sender.clone());
    let asked_to_end = Arc::new(AtomicBool::new(false));
    for signal in TERM_SIGNALS {
        flag::register(*signal, Arc::clone(&asked_to_end))?;
    }
    let mut model = Model::default();
    while !asked_to_end.load(Ordering::Relaxed) {
        model.tick(Instant::now());
        terminal.draw(|frame| view::draw(frame, &mut model, SystemTime::now()))?;
        if event::poll(TICK)? {
            match wish_of(&event::read()?, &mut model) {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Operate(path)) => operate(client.clone(), path, sender.clone()),
                None => {}
            }
        }
        for news in news.try_iter() {
            match news {
                News::Status(Ok(status), at) => model.update(*status, at),
                News::Status(Err(failure), at) => model.lose(failure.to_string(), at),
                News::Outcome(outcome) => {
                    let text = outcome.unwrap_or_else(|failure| failure.to_string());
                    model.tell(text, Instant::now());
                }
            }
        }
    }
    Ok(())
}

fn wish_of(event: &Event, model: &mut Model) -> Option<Wish> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let now = Instant::now();
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
        KeyCode::Char(character) => model.press(character, now),
        KeyCode::Esc => model.press('q', now),
        KeyCode::Down => model.press('j', now),
        KeyCode::Up => model.press('k', now),
        KeyCode::PageDown => model.press(NEXT_PAGE, now),
        KeyCode::PageUp => model.press(PAGE_BEFORE, now),
        KeyCode::Home => model.press('g', now),
        KeyCode::End => model.press('G', now),
        _ => None,
    }
}

/// Until the receiver is gone.
fn ask_again_and_again(client: Client, interval: Duration, sender: Sender<News>) {
    thread::spawn(move || {
        loop {
            let status = run::status(&client).map(Box::new);
            if sender.send(News::Status(status, Instant::now())).is_err() {
                return;
            }
            thread::sleep(interval);
        }
    });
}

fn operate(client: Client, path: String, sender: Sender<News>) {
    thread::spawn(move || {
        // The receiver is gone if the user has left.
        let _ = sender.send(News::Outcome(operation::perform(&client, &path)));
    });
}
