//! Rules of the house: words, widths, names, circles, clients, links, the book and alerts.

mod alerts;
mod book;
mod circles;
mod config_reference;
mod handed_down;
mod links;
mod names;
mod sources;
mod unsafe_code;
mod voice;
