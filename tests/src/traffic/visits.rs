//! Visits: who comes when, what they do, and what changes about their persons.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::elements::ElementsChain;
use super::event::{EventGroup, EventPerson, TrafficEvent};
use super::register::{PersonRegister, random_uuid};
use super::{DAYS, START, Traffic};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Teams of the visitors: the team of most queries, and another one with the same distinct ids.
const TEAMS: [i64; 5] = [2, 2, 2, 2, 3];
const PAGES: [&str; 6] = ["/", "/pricing", "/docs", "/docs/install", "/blog/it's \"1\"", "/account"];
const BROWSERS: [&str; 3] = ["Chrome", "Safari", "Firefox"];
const SOURCES: [&str; 4] = ["google.com", "example.org", "", "news.ycombinator.com"];
const PLANS: [&str; 3] = ["free", "pro", "Überflug \"1\""];
const COMPANIES: [&str; 5] = ["acme", "Globex Inc.", "initech", "Ünï cödé 日本", "o'hara; sons"];

/// A visitor with devices and, from some visit on, an account.
struct Visitor {
    number: usize,
    team: i64,
    /// Distinct id of the current device.
    anonymous: String,
    known: String,
    /// Whether the current device knows the account.
    is_identified: bool,
    company: Option<usize>,
}

impl Visitor {
    fn new(number: usize, random: &mut StdRng) -> Self {
        // Names hold every character that a step between SDK and disk might corrupt.
        let known = match number % 5 {
            0 => format!("user-{number}@example.com"),
            1 => format!("it's \"{number}\""),
            2 => format!("back\\slash\\{number}"),
            3 => format!("日本語 🦔 {number}"),
            _ => format!("{number}"),
        };
        let team = TEAMS[number % TEAMS.len()];
        let company = random.random_bool(0.6).then(|| random.random_range(0..COMPANIES.len()));
        Self { number, team, anonymous: device(random), known, is_identified: false, company }
    }

    fn distinct_id(&self) -> &str {
        if self.is_identified { &self.known } else { &self.anonymous }
    }
}

/// The distinct id of a new device.
fn device(random: &mut StdRng) -> String {
    format!("{:032x}-device", random.random::<u128>())
}

/// Visits of all visitors, one after the other.
pub(super) struct Visits {
    random: StdRng,
    register: PersonRegister,
    /// Persons of visitors without one: each distinct id has its own.
    times: BTreeSet<i64>,
    events: Vec<TrafficEvent>,
}

/// Facts that the events of one visit share.
struct VisitContext {
    session: String,
    window: String,
    browser: &'static str,
    source: &'static str,
    /// Whether the application makes no person of this visit.
    is_personless: bool,
}

impl Visits {
    pub(super) fn of(seed: u64, visitors: usize, count: usize) -> Traffic {
        let mut random = StdRng::seed_from_u64(seed);
        let mut people: Vec<Visitor> =
            (0..visitors).map(|number| Visitor::new(number, &mut random)).collect();
        let mut starts: Vec<(i64, usize)> = (0..count)
            .map(|_| {
                let time = random.random_range(6 * 3_600..23 * 3_600) * SECOND;
                let day = random.random_range(0..i64::from(DAYS));
                // Some visitors come often, most seldom.
                let share: f64 = random.random();
                (START + day * DAY + time, (share * share * visitors as f64) as usize)
            })
            .collect();
        starts.sort_unstable();
        let mut visits =
            Self { random, register: PersonRegister::default(), times: BTreeSet::new(), events: Vec::new() };
        for (start, visitor) in starts {
            visits.visit(start, &mut people[visitor]);
        }
        visits.events.sort_by_key(|event| event.timestamp);
        Traffic { events: visits.events, register: visits.register }
    }

    fn visit(&mut self, start: i64, visitor: &mut Visitor) {
        if self.random.random_bool(0.15) {
            (visitor.anonymous, visitor.is_identified) = (device(&mut self.random), false);
        }
        let context = self.context(visitor);
        let mut time = start;
        for number in 0..self.random.random_range(1..8) {
            time += self.random.random_range(1..400 * SECOND);
            let event = match self.random.random_range(0..100) {
                _ if number == 0 => "$pageview",
                0..45 => "$pageview",
                45..75 => "$autocapture",
                75..82 => "purchase",
                82..88 => "signup",
                88..95 if !visitor.is_identified => "$identify",
                _ => "$pageleave",
            };
            if event == "$identify" {
                self.identify(time, visitor);
            }
            self.event(event, time, visitor, &context);
        }
        if let Some(person) = self.register.person(visitor.team, visitor.distinct_id()) {
            match self.random.random_range(0..100) {
                0..4 => self.register.delete(person),
                4..14 => {
                    let plan = PLANS.choose(&mut self.random).copied().unwrap_or_default();
                    self.register.set(person, object(json!({"plan": plan})), false);
                }
                _ => {}
            }
        }
    }

    fn context(&mut self, visitor: &Visitor) -> VisitContext {
        let random = &mut self.random;
        let is_personless = !visitor.is_identified
            && self.register.person(visitor.team, &visitor.anonymous).is_none()
            && random.random_bool(0.3);
        VisitContext {
            session: random_uuid(random).to_string(),
            window: random_uuid(random).to_string(),
            browser: BROWSERS.choose(random).copied().unwrap_or_default(),
            source: SOURCES.choose(random).copied().unwrap_or_default(),
            is_personless,
        }
    }

    fn identify(&mut self, time: i64, visitor: &mut Visitor) {
        let ids = (visitor.anonymous.as_str(), visitor.known.as_str());
        let person = self.register.identify(visitor.team, ids, time, &mut self.random);
        visitor.is_identified = true;
        let plan = PLANS[visitor.number % PLANS.len()];
        let properties = json!({"email": format!("user-{}@example.com", visitor.number), "name": visitor.known, "plan": plan});
        self.register.set(person, object(properties), true);
    }

    fn event(&mut self, event: &'static str, time: i64, visitor: &Visitor, context: &VisitContext) {
        let mut timestamp = time;
        while !self.times.insert(timestamp) {
            timestamp += 1;
        }
        let person = self.person(time, visitor, context);
        let page = PAGES.choose(&mut self.random).copied().unwrap_or_default();
        let mut properties = object(json!({
            "$current_url": format!("https://example.com{page}"), "$pathname": page, "$host": "example.com",
            "$browser": context.browser, "$browser_version": self.random.random_range(100..140),
            "$referring_domain": context.source,
        }));
        let mut elements = ElementsChain::default();
        match event {
            "purchase" => {
                properties.insert("amount".to_owned(), self.random.random_range(1..20_000).into());
                properties.insert("items".to_owned(), json!(["a", "b\"c"]));
            }
            "$identify" => {
                _ = properties.insert("$anon_distinct_id".to_owned(), visitor.anonymous.clone().into());
            }
            "$autocapture" => {
                elements = ElementsChain::random(&mut self.random);
                properties.insert("$event_type".to_owned(), "click".into());
            }
            _ => {}
        }
        self.events.push(TrafficEvent {
            uuid: random_uuid(&mut self.random),
            team: visitor.team,
            distinct_id: visitor.distinct_id().to_owned(),
            event,
            timestamp,
            session: context.session.clone(),
            window: context.window.clone(),
            properties,
            elements,
            person,
            group: visitor.company.filter(|_| visitor.is_identified).map(group),
        });
    }

    /// The person of an event as the application finds or creates it.
    fn person(&mut self, time: i64, visitor: &Visitor, context: &VisitContext) -> EventPerson {
        let (team, distinct_id) = (visitor.team, visitor.distinct_id());
        let found = self.register.person(team, distinct_id);
        let id = match found {
            Some(id) => id,
            None if context.is_personless && !visitor.is_identified => {
                let random = &mut self.random;
                let id = self
                    .register
                    .personless
                    .entry((team, distinct_id.to_owned()))
                    .or_insert_with(|| random_uuid(random));
                return EventPerson { id: *id, created: START, properties: Map::new(), mode: "propertyless" };
            }
            None => self.register.create(team, distinct_id, time, &mut self.random),
        };
        let person = self.register.persons.get(&id);
        EventPerson {
            id,
            created: person.map_or(time, |person| person.created),
            properties: person.map(|person| person.properties.clone()).unwrap_or_default(),
            mode: "full",
        }
    }
}

fn group(company: usize) -> EventGroup {
    let key = COMPANIES[company];
    let properties = json!({"name": format!("{key} Ltd."), "seats": 10 * (company + 1)});
    EventGroup { key: key.to_owned(), properties, created: START - DAY * (1 + company as i64) }
}

/// The object that `json!` made.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
