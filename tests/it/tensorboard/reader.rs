//! Event files as their format says, without TensorBoard.

use std::{collections::BTreeMap, fs, path::Path};

/// Step and value of each figure of a tag, as they were written.
pub type Curves = BTreeMap<String, Vec<(usize, f32)>>;

/// One `Event`.
#[derive(Debug, Default)]
pub struct Event {
    pub wall_time: f64,
    pub step: usize,
    pub file_version: Option<String>,
    pub is_start: bool,
    pub scalars: Vec<(String, f32)>,
}

/// The events of each file in `dir`, in the order of their names.
pub fn files(dir: &Path) -> Vec<Vec<Event>> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
    }
    paths.iter().map(|path| events(&fs::read(path).unwrap())).collect()
}

/// What TensorBoard makes of the files in `dir`: a START ends what was written of its step and of
/// later ones.
pub fn curves(dir: &Path) -> Curves {
    let mut curves = Curves::new();
    for event in files(dir).into_iter().flatten() {
        if event.is_start {
            for curve in curves.values_mut() {
                curve.retain(|&(step, _)| step < event.step);
            }
        }
        for (tag, value) in event.scalars {
            curves.entry(tag).or_default().push((event.step, value));
        }
    }
    curves
}

/// A record that was cut short ends the file, as it does for TensorBoard.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((data, rest)) = record(bytes) {
        events.push(event(data));
        bytes = rest;
    }
    events
}

/// The first record's message, and what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let (length_crc, rest) = rest.split_at_checked(4)?;
    assert_eq!(length_crc, masked_crc32c(length).to_le_bytes(), "the length's checksum");
    let length = u64::from_le_bytes(length.try_into().unwrap());
    let (data, rest) = rest.split_at_checked(length as usize)?;
    let (data_crc, rest) = rest.split_at_checked(4)?;
    assert_eq!(data_crc, masked_crc32c(data).to_le_bytes(), "the message's checksum");
    Some((data, rest))
}

fn event(data: &[u8]) -> Event {
    let mut event = Event::default();
    for (number, value) in fields(data) {
        match (number, value) {
            (1, Value::Eight(time)) => event.wall_time = f64::from_le_bytes(time),
            (2, Value::Varint(step)) => event.step = step as usize,
            (3, Value::Bytes(version)) => event.file_version = Some(text(version)),
            (5, Value::Bytes(summary)) => event.scalars = fields(summary).map(scalar).collect(),
            (7, Value::Bytes(log)) => {
                let fields: Vec<_> = fields(log).collect();
                assert!(matches!(fields[..], [(1, Value::Varint(1))]), "{fields:?}");
                event.is_start = true;
            }
            strange => panic!("in an event: {strange:?}"),
        }
    }
    event
}

fn scalar((number, value): (u64, Value)) -> (String, f32) {
    let (1, Value::Bytes(value)) = (number, value) else { panic!("no value of a summary") };
    match fields(value).collect::<Vec<_>>()[..] {
        [(1, Value::Bytes(tag)), (2, Value::Four(x))] => (text(tag), f32::from_le_bytes(x)),
        ref strange => panic!("in a value: {strange:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[derive(Debug)]
enum Value<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The fields of a protobuf message with their numbers.
fn fields(mut data: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let key = varint(&mut data);
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut data)),
            1 => Value::Eight(take(&mut data, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut data);
                Value::Bytes(take(&mut data, length as usize))
            }
            5 => Value::Four(take(&mut data, 4).try_into().unwrap()),
            kind => panic!("a field of kind {kind}"),
        };
        Some((key >> 3, value))
    })
}

fn take<'a>(data: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(length);
    *data = rest;
    taken
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(data, 1)[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number without an end")
}

fn masked_crc32c(data: &[u8]) -> u32 {
    let crc = !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 * (crc & 1)))
    });
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}
