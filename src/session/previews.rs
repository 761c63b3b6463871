//! `previews/`: writes the last crops shown in each epoch as a small PNG.

use crate::run::{
    channel::EventSender,
    event::{Event, Level, Position, Preview},
    folder::{Folder, write_atomically},
};
use image::{GrayImage, ImageFormat};
use std::{io, thread::JoinHandle};

/// Pixels between two crops.
const GAP: usize = 2;

/// Writes them until the run ends. If no thread can be started, there are none.
pub(super) fn spawn_writer(folder: &Folder, events: &EventSender) -> Option<JoinHandle<()>> {
    let (_, heard) = events.watch();
    let (folder, events) = (folder.clone(), events.clone());
    let thread = std::thread::Builder::new().name("previews".into());
    let run = move || {
        let (mut newest, mut ended): (Option<Preview>, _) = (None, None);
        let mut warned = false;
        let epoch = |at: Position| (at.fold, at.epoch);
        for stamped in heard {
            match stamped.event {
                // The last one of an epoch may come after the epoch's end.
                Event::Preview(preview) => newest = Some(preview),
                Event::Epoch(event) => ended = Some(epoch(event.at)),
                _ => continue,
            }
            let Some(preview) = newest.take_if(|preview| ended == Some(epoch(preview.at))) else {
                continue;
            };
            // The trainer itself pauses on a full disk; a missing picture is no reason to.
            if let Err(error) = write(&folder, &preview)
                && !std::mem::replace(&mut warned, true)
            {
                events.log(Level::Warn, format!("a preview could not be written: {error}"));
            }
        }
    };
    thread.spawn(run).ok()
}

fn write(folder: &Folder, preview: &Preview) -> io::Result<()> {
    let dir = folder.path().join("previews");
    // Create no parents, so that a deleted run folder is not recreated.
    match std::fs::create_dir(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let Some(sheet) = sheet(preview) else { return Ok(()) };
    let mut png = io::Cursor::new(Vec::new());
    sheet.write_to(&mut png, ImageFormat::Png).map_err(io::Error::other)?;
    let name = format!("fold{}_epoch{:03}.png", preview.at.fold, preview.at.epoch);
    write_atomically(&dir.join(name), png.get_ref())
}

/// Arranges the crops side by side: the network's input above, the crop from disk below.
fn sheet(preview: &Preview) -> Option<GrayImage> {
    let crops = &preview.crops;
    let height = crops.iter().map(|crop| crop.height).max()?;
    let width = crops.iter().map(|crop| crop.width + GAP).sum::<usize>() - GAP;
    let mut sheet = GrayImage::new(width as u32, (2 * height + GAP) as u32);
    let mut left = 0;
    for crop in crops {
        let pictures = [(Some(&crop.seen), 0), (crop.raw.as_ref(), height + GAP)];
        for (picture, top) in pictures.into_iter().filter_map(|(p, top)| Some((p?, top))) {
            let (width, height) = (crop.width as u32, crop.height as u32);
            if let Some(picture) = GrayImage::from_raw(width, height, picture.pixels.to_vec()) {
                image::imageops::replace(&mut sheet, &picture, left as i64, top as i64);
            }
        }
        left += crop.width + GAP;
    }
    Some(sheet)
}
