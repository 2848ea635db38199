//! Generated product events, reproducible by seed.
//!
//! Teams and people are skewed, JSON properties have 300 to 800 bytes. On request some messages are
//! repeated or broken.

use std::fmt::Write;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::{Builder, Uuid};

/// Number of distinct property objects. Messages share them, so that a generator keeps up with
/// 50,000 events per second.
const PROPERTY_SETS: usize = 997;
/// Pages of the imaginary site, from the most visited to the least.
const PAGES: [&str; 8] =
    ["/", "/pricing", "/docs", "/signup", "/docs/install", "/blog/exactly-once", "/account", "/docs/api"];
const BROWSERS: [&str; 4] = ["Chrome", "Safari", "Firefox", "Edge"];
const SYSTEMS: [&str; 5] = ["Mac OS X", "Windows", "iOS", "Android", "Linux"];
const EVENTS: [&str; 5] = ["$pageview", "$pageview", "$autocapture", "$identify", "purchase"];
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Parameters of the generator.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Number of teams; the first has the most events.
    pub teams: u32,
    /// Number of people in all teams; a tenth of them sends most events.
    pub people: u32,
    /// Days before `until` over which timestamps spread.
    pub days: u32,
    /// The latest timestamp, µs since 1970, UTC.
    pub until: i64,
    /// Repeated earlier messages, per 10,000 messages.
    pub again: u32,
    /// Broken messages, per 10,000 messages.
    pub broken: u32,
}

/// Kind of a message, for the count afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new event.
    New,
    /// The same bytes as an earlier event.
    Again,
    /// Must become a dead letter.
    Broken,
}

/// One message for the topic.
#[derive(Debug, Clone)]
pub struct Message {
    /// The event's uuid, as the product sends it.
    pub key: String,
    pub payload: Vec<u8>,
    pub kind: Kind,
}

/// The fields of one event.
#[derive(Debug, Clone)]
pub struct Event {
    pub uuid: Uuid,
    pub event: &'static str,
    /// Index for [`Generator::properties`].
    pub properties: usize,
    /// µs since 1970, UTC.
    pub timestamp: i64,
    pub team_id: i64,
    pub distinct_id: String,
}

/// An endless source of messages.
pub struct Generator {
    random: StdRng,
    profile: Profile,
    properties: Vec<String>,
    /// The same objects, escaped for JSON strings.
    escaped: Vec<String>,
    earlier: Option<Message>,
}

impl Generator {
    /// Creates a generator of `profile`'s messages from `seed`.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let properties: Vec<String> = (0..PROPERTY_SETS).map(|_| properties(&mut random)).collect();
        let escaped = properties.iter().map(|object| object.replace('"', r#"\""#)).collect();
        Self { random, profile, properties, escaped, earlier: None }
    }

    /// Returns a property set: a JSON object.
    pub fn properties(&self, index: usize) -> &str {
        self.properties.get(index).map_or("{}", String::as_str)
    }

    /// Returns the next event, always a new one.
    pub fn event(&mut self) -> Event {
        let uuid = self.uuid();
        let random = &mut self.random;
        let timestamp =
            self.profile.until - random.random_range(0..=i64::from(self.profile.days) * MICROS_PER_DAY);
        let event = EVENTS[random.random_range(0..EVENTS.len())];
        let (team, person) = (skewed(random, self.profile.teams) + 1, skewed(random, self.profile.people));
        let properties = random.random_range(0..PROPERTY_SETS);
        let (team_id, distinct_id) = (i64::from(team), format!("user-{person:07}@example.com"));
        Event { uuid, event, properties, timestamp, team_id, distinct_id }
    }

    fn message(&mut self) -> Message {
        let Event { uuid, event, properties, timestamp, team_id, distinct_id } = self.event();
        let (key, properties) = (uuid.to_string(), &self.escaped[properties]);
        let mut payload = String::with_capacity(properties.len() + 320);
        let time = moment(timestamp);
        // Writing to a `String` can't fail.
        let _ = write!(
            payload,
            r#"{{"uuid":"{key}","event":"{event}","properties":"{properties}","timestamp":"{time}","team_id":{team_id},"distinct_id":"{distinct_id}","elements_chain":"","created_at":"{time}","source":"web"}}"#
        );
        Message { key, payload: payload.into_bytes(), kind: Kind::New }
    }

    fn uuid(&mut self) -> Uuid {
        let bytes: [u8; 16] = self.random.random();
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Returns a message broken in a way that real messages are. Each is unique by its uuid where
    /// it has one.
    fn broken(&mut self) -> Message {
        let event = self.message();
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        let payload = match self.random.random_range(0..6) {
            0 => text.replace(r#""team_id":"#, r#""team":"#).into_bytes(),
            1 => text.replacen(r#""timestamp":"2"#, r#""timestamp":"never 2"#, 1).into_bytes(),
            2 => event.payload[..event.payload.len() / 2].to_vec(),
            3 => format!("[{text}]").into_bytes(),
            4 => text.replacen(&event.key, "not-a-uuid", 1).into_bytes(),
            _ => [event.payload.as_slice(), b"\xff\xfe"].concat(),
        };
        Message { payload, kind: Kind::Broken, ..event }
    }
}

impl Iterator for Generator {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let lot = self.random.random_range(0..10_000);
        if lot < self.profile.broken {
            return Some(self.broken());
        }
        if lot < self.profile.broken + self.profile.again
            && let Some(earlier) = &self.earlier
        {
            return Some(Message { kind: Kind::Again, ..earlier.clone() });
        }
        let event = self.message();
        if self.earlier.is_none() || lot % 16 == 0 {
            self.earlier = Some(event.clone());
        }
        Some(event)
    }
}

/// Returns a number below `end` that is likelier to be small: the square of a uniform one.
fn skewed(random: &mut StdRng, end: u32) -> u32 {
    let uniform: f64 = random.random();
    (uniform * uniform * f64::from(end)) as u32
}

/// Returns a JSON object of up to 800 bytes.
fn properties(random: &mut StdRng) -> String {
    let page = PAGES[skewed(random, PAGES.len() as u32) as usize];
    let (browser, system) = (random.random_range(0..BROWSERS.len()), random.random_range(0..SYSTEMS.len()));
    let session: u64 = random.random();
    let mut object = format!(
        r#"{{"$current_url":"https://example.com{page}","$host":"example.com","$pathname":"{page}","$browser":"{}","$browser_version":{},"$os":"{}","$screen_width":{},"$lib":"web","$lib_version":"1.297.{}","$session_id":"{session:032x}","$window_id":"{:032x}","$referrer":"https://www.example.org/search""#,
        BROWSERS[browser],
        random.random_range(100..150),
        SYSTEMS[system],
        [1280, 1440, 1920, 390][random.random_range(0..4)],
        random.random_range(0..9),
        session.rotate_left(17),
    );
    for number in 0..random.random_range(0..12) {
        let _ = write!(object, r#","custom_{number}":"{:024x}""#, random.random::<u64>());
    }
    object.push('}');
    object
}

/// Formats microseconds since 1970 like `2026-11-01 10:42:06.502000`.
fn moment(micros: i64) -> String {
    let timestamp = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: Profile = Profile {
        teams: 20,
        people: 10_000,
        days: 14,
        until: 1_793_528_526_502_000,
        again: 100,
        broken: 100,
    };

    #[test]
    fn the_same_seed_gives_the_same_messages() {
        let messages = |seed| Generator::new(PROFILE, seed).take(500).map(|m| m.payload).collect::<Vec<_>>();
        assert_eq!(messages(7), messages(7));
        assert_ne!(messages(7), messages(8));
    }

    #[test]
    fn events_are_json_with_properties_of_the_promised_size() {
        let mut kinds = [0; 3];
        for message in Generator::new(PROFILE, 1).take(20_000) {
            kinds[message.kind as usize] += 1;
            if message.kind != Kind::Broken {
                let event: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
                let properties = event["properties"].as_str().expect("a string");
                assert!((300..=800).contains(&properties.len()), "{} bytes", properties.len());
                assert!(serde_json::from_str::<serde_json::Value>(properties).expect("JSON").is_object());
                assert_eq!(event["uuid"].as_str(), Some(message.key.as_str()));
            }
        }
        assert!(kinds.iter().all(|count| *count > 100), "{kinds:?}");
    }

    #[test]
    fn moments_are_written_as_the_topic_has_them() {
        assert_eq!(moment(1_793_528_526_502_000), "2026-11-01 10:22:06.502000");
    }
}
