//! The wire codec, from outside: golden bytes, round trips, refusals and hostile input.

mod coordination;
mod golden;
mod hostile;
mod operating;
mod page;
mod records;
mod rejections;
mod round_trip;
mod samples;
mod snapshots;
mod sound;
mod status;
mod strategies;
