//! Reads the tensors of files written by PyTorch's `torch.save`, without running any code in them.
//!
//! Such a file is a zip archive: `NAME/data.pkl`, a pickle that describes the tensors, and their values
//! in `NAME/data/0` and so on. candle's reader turns the pickle into plain data and calls nothing. But
//! it trusts every length, number of copies and nesting depth, so each of its operations is checked
//! here, before and after.

use super::{MOST_DIMENSIONS, Tensors, names::is_average, sentence};
use crate::bounded::excerpt;
use candle_core::{
    DType, Device, Layout, Shape, Tensor,
    pickle::{Object, Stack},
};
use std::{
    collections::{HashMap, HashSet},
    io::{Cursor, Read},
};
use zip::{CompressionMethod, ZipArchive};

/// Maximum size of the pickle, bytes; a nano's has 60 kB.
const LONGEST_PICKLE: u64 = 4 << 20;
/// Maximum nesting; a parameter in a dictionary in a dictionary has 8.
const DEEPEST: usize = 64;
/// Maximum number of objects visited or copied while reading a pickle; a nano's takes 150 thousand.
const MOST_OBJECTS: usize = 2 << 20;
/// Characters counted as one object.
const CHARACTERS: usize = 32;
/// Newest supported pickle protocol; torch.save writes 2 by default.
const NEWEST_PROTOCOL: u8 = 3;
/// Levels of nested dictionaries that are searched for weights.
const LEVELS: usize = 3;
/// Keys of the weights in a checkpoint that holds more.
const KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];

type Result<T> = std::result::Result<T, String>;

/// Reads the tensors of a zipped `.pth` file, as f32, f64, f16, bf16 or i64, on the CPU. `average`: take
/// the moving average if the file holds both it and the weights.
///
/// Errors: when the file is malformed; a full sentence.
pub(super) fn tensors(bytes: &[u8], average: bool) -> Result<Tensors> {
    let damaged = |e: zip::result::ZipError| {
        format!("it is no whole zip archive: {}", excerpt(&e.to_string(), 200))
    };
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
    let is_pickle = |name: &String| name == "data.pkl" || name.ends_with("/data.pkl");
    let Some(name) = names.into_iter().find(is_pickle) else {
        return Err("it is a zip archive without a data.pkl: torch.save did not write it".into());
    };
    let mut pickle = Vec::new();
    let file = zip.by_name(&name).map_err(damaged)?;
    let read = file.take(LONGEST_PICKLE + 1).read_to_end(&mut pickle);
    read.map_err(|e| format!("its data.pkl is damaged: {}", excerpt(&e.to_string(), 200)))?;
    if pickle.len() as u64 > LONGEST_PICKLE {
        return Err(format!("its data.pkl has more than {} MiB", LONGEST_PICKLE >> 20));
    }
    let folder = name.strip_suffix("data.pkl").unwrap_or_default();
    if let Ok(file) = zip.by_name(&format!("{folder}byteorder")) {
        let mut order = String::new();
        let read = file.take(10).read_to_string(&mut order);
        if read.is_err() || order != "little" {
            return Err(
                "it was written on a machine of another byte order: save it on this one".into()
            );
        }
    }
    let mut whole = HashSet::new();
    let mut left = bytes.len();
    of_pickle(&pickle, bytes.len(), average, &mut |key| {
        let shown = excerpt(key, 40);
        let file = zip.by_name(&format!("{folder}data/{key}"));
        let file = file.map_err(|_| format!("its values data/{shown} are missing"))?;
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Err(format!("its values data/{shown} are compressed or encrypted"));
        }
        // Borrow the stored bytes, without a copy.
        let values = file.data_start().and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(file.size()).ok()?)?;
            bytes.get(start..end)
        });
        let values = values.ok_or_else(|| format!("its values data/{shown} are cut short"))?;
        if whole.insert(key.to_string()) {
            let rest = left.checked_sub(values.len());
            left = rest.ok_or_else(|| "its parts lie over each other".to_string())?;
            if crc32fast::hash(values) != file.crc32() {
                return Err(format!("its values data/{shown} are damaged"));
            }
        }
        Ok(values)
    })
}

/// Reads the tensors that a pickle describes, of at most `most` bytes in total. `average` as in
/// [`tensors`]; `storage` returns the values stored under a key.
pub(super) fn of_pickle<'a>(
    pickle: &[u8],
    most: usize,
    average: bool,
    storage: &mut dyn FnMut(&str) -> Result<&'a [u8]>,
) -> Result<Tensors> {
    let described = unpickle(pickle)?;
    let mut tensors = HashMap::new();
    let mut left = most;
    let (pairs, is_average, taken) = state_dict(&described, average)?;
    for (name, value) in pairs {
        let (Object::Unicode(name), Some(arguments)) = (name, rebuilt(value)) else { continue };
        let wrong = |why: String| format!("{:?} {why}", excerpt(name, 100));
        let view = View::of(arguments).map_err(wrong)?;
        let values = view.values(storage(view.key)?).map_err(wrong)?;
        let rest = left.checked_sub(values.len());
        left = rest.ok_or_else(|| "its tensors lie over each other".to_string())?;
        let tensor = Tensor::from_raw_buffer(&values, view.dtype, &view.shape, &Device::Cpu);
        tensors.insert(name.clone(), tensor.map_err(|e| sentence(&e))?);
    }
    Ok(Tensors { by_name: tensors, is_average, taken })
}

/// Parses a pickle.
fn unpickle(mut pickle: &[u8]) -> Result<Object> {
    const RESAVE: &str = "load the file in PyTorch, and torch.save its state_dict() with the default \
                         pickle_protocol";
    if let &[0x80, protocol, ..] = pickle
        && protocol > NEWEST_PROTOCOL
    {
        return Err(format!(
            "its data.pkl is a pickle of protocol {protocol}, and up to {NEWEST_PROTOCOL} is read \
             here: {RESAVE}"
        ));
    }
    let foreign = |e: candle_core::Error| {
        format!("its data.pkl cannot be understood ({}): {RESAVE}", sentence(&e))
    };
    let mut stack = Stack::empty();
    let mut left = MOST_OBJECTS;
    loop {
        check_length(pickle)?;
        let ended = stack.read(&mut pickle).map_err(foreign)?;
        // An operation's result is on top of the stack, and anything it copied is at most as large.
        let top = stack.stack().last().map_or(Some(0), |top| objects(top, DEEPEST));
        let top = top.ok_or("its data.pkl is nested too deep")?;
        left = left.checked_sub(1 + top).ok_or("its data.pkl describes too many objects")?;
        if ended {
            return stack.finalize().map_err(foreign);
        }
    }
}

/// Rejects a next operation that would allocate or count more than the input holds.
fn check_length(pickle: &[u8]) -> Result<()> {
    match *pickle {
        // Length of a string.
        [b'X', a, b, c, d, ref rest @ ..]
            if u32::from_le_bytes([a, b, c, d]) as usize > rest.len() =>
        {
            Err("its data.pkl is cut short".into())
        }
        // Length of an integer.
        [0x8a, bytes, ..] if bytes > 8 => Err("its data.pkl has a number beyond 64 bits".into()),
        _ => Ok(()),
    }
}

/// Counts the objects in `object`; `None` if they are nested deeper than `deep`.
fn objects(object: &Object, deep: usize) -> Option<usize> {
    let deep = deep.checked_sub(1)?;
    let all = |of: &[Object]| of.iter().try_fold(1, |n, part| Some(n + objects(part, deep)?));
    let two = |a: &Object, b: &Object| Some(1 + objects(a, deep)? + objects(b, deep)?);
    match object {
        Object::Class { module_name, class_name } => {
            Some(1 + (module_name.len() + class_name.len()) / CHARACTERS)
        }
        Object::Unicode(text) => Some(1 + text.len() / CHARACTERS),
        Object::Tuple(parts) | Object::List(parts) => all(parts),
        Object::Dict(pairs) => pairs.iter().try_fold(1, |n, (a, b)| Some(n + two(a, b)?)),
        Object::Reduce { callable, args } | Object::Build { callable, args } => two(callable, args),
        Object::PersistentLoad(id) => Some(1 + objects(id, deep)?),
        Object::Int(_)
        | Object::Long(_)
        | Object::Float(_)
        | Object::Bool(_)
        | Object::None
        | Object::Mark => Some(1),
    }
}

/// A dictionary of tensors that was chosen from a file, whether it holds a moving average, and the names of
/// what was taken and what was left as in [`Tensors`].
type Chosen<'a> = (&'a [(Object, Object)], bool, Option<(String, String)>);

/// A dictionary of tensors, and the path of keys to it.
struct Found<'a> {
    keys: Vec<&'a str>,
    pairs: &'a [(Object, Object)],
}

impl Found<'_> {
    fn describe(&self) -> String {
        format!("{:?}", excerpt(&self.keys.join("."), 60))
    }
}

/// Finds the dictionary of tensors: the whole object, or if that has none, a nested one. If there are
/// both weights and a moving average, `average` selects.
fn state_dict(described: &Object, average: bool) -> Result<Chosen<'_>> {
    let Object::Dict(whole) = described else {
        return Err(
            "it holds a pickled object and no weights by name: save its state_dict()".into()
        );
    };
    if has_tensors(whole) {
        return Ok((whole, false, None));
    }
    let mut found = Vec::new();
    find(whole, &mut Vec::new(), &mut found);
    let is_average_of = |found: &Found| found.keys.iter().any(|key| is_average(key));
    let (averages, plain): (Vec<_>, Vec<_>) = found.into_iter().partition(is_average_of);
    let takes_average = !averages.is_empty() && (average || plain.is_empty());
    let (candidates, others) = if takes_average { (averages, plain) } else { (plain, averages) };
    let chosen = only(candidates)?;
    // Report the set not taken, if it is a single one.
    let taken = only(others).ok().map(|other| (chosen.describe(), other.describe()));
    Ok((chosen.pairs, takes_average, taken))
}

fn has_tensors(pairs: &[(Object, Object)]) -> bool {
    pairs.iter().any(|(_, value)| rebuilt(value).is_some())
}

/// Collects the dictionaries of tensors in `pairs`, down to [`LEVELS`].
fn find<'a>(pairs: &'a [(Object, Object)], keys: &mut Vec<&'a str>, found: &mut Vec<Found<'a>>) {
    for (key, value) in pairs {
        let (Object::Unicode(key), Object::Dict(pairs)) = (key, value) else { continue };
        keys.push(key);
        if has_tensors(pairs) {
            found.push(Found { keys: keys.clone(), pairs });
        } else if keys.len() < LEVELS {
            find(pairs, keys, found);
        }
        keys.pop();
    }
}

/// Selects from the topmost dictionaries: one with a known key, or the only one.
fn only(mut found: Vec<Found>) -> Result<Found> {
    let highest = found.iter().map(|found| found.keys.len()).min().unwrap_or(0);
    found.retain(|found| found.keys.len() == highest);
    let known = |key: &&str| found.iter().position(|found| found.keys == [*key]);
    let at = match (KEYS.iter().find_map(known), found.len()) {
        (Some(at), _) => at,
        (None, 0) => return Err("it holds no tensor".into()),
        (None, 1) => 0,
        (None, _) => {
            let keys: Vec<String> = found.iter().take(4).map(Found::describe).collect();
            return Err(format!(
                "it holds tensors under {}: save one of them alone",
                keys.join(", ")
            ));
        }
    };
    Ok(found.swap_remove(at))
}

/// Returns the arguments of `torch._utils._rebuild_tensor_v2` if the object is such a call, or a
/// parameter made from one.
fn rebuilt(object: &Object) -> Option<&[Object]> {
    let Object::Reduce { callable, args } = object else { return None };
    let Object::Class { module_name, class_name } = &**callable else { return None };
    let Object::Tuple(args) = &**args else { return None };
    match (&**module_name, &**class_name, &args[..]) {
        ("torch._utils", "_rebuild_tensor_v2", args) => Some(args),
        ("torch._utils", "_rebuild_parameter", [tensor, ..]) => rebuilt(tensor),
        _ => None,
    }
}

/// A tensor as a view of stored values.
struct View<'a> {
    key: &'a str,
    dtype: DType,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// Offset of the first value.
    offset: usize,
}

impl<'a> View<'a> {
    /// Parses the arguments (storage, offset, shape, strides, …).
    fn of(arguments: &'a [Object]) -> Result<Self> {
        let strange = || "is described in a way that is not PyTorch's".to_string();
        let [Object::PersistentLoad(id), offset, Object::Tuple(shape), Object::Tuple(strides), ..] =
            arguments
        else {
            return Err(strange());
        };
        let Object::Tuple(id) = &**id else { return Err(strange()) };
        let [_, Object::Class { class_name, .. }, Object::Unicode(key), ..] = &id[..] else {
            return Err(strange());
        };
        let dtype = match &**class_name {
            "FloatStorage" => DType::F32,
            "DoubleStorage" => DType::F64,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::BF16,
            // BatchNorm's batch counter.
            "LongStorage" => DType::I64,
            other => return Err(format!("is of type {:?}", excerpt(other, 40))),
        };
        let counts = |of: &[Object]| of.iter().map(count).collect::<Option<Vec<_>>>();
        let (Some(offset), Some(shape), Some(strides)) =
            (count(offset), counts(shape), counts(strides))
        else {
            return Err(strange());
        };
        if shape.len() != strides.len() {
            return Err(strange());
        }
        if shape.contains(&0) || shape.len() > MOST_DIMENSIONS {
            return Err(format!("has the shape {}", excerpt(&format!("{shape:?}"), 80)));
        }
        Ok(Self { key, dtype, shape, strides, offset })
    }

    /// Copies the view's bytes, row by row, from the stored values.
    fn values(&self, stored: &[u8]) -> Result<Vec<u8>> {
        let size = self.dtype.size_in_bytes();
        let (number, last) = self.extent().ok_or("has a shape without an end")?;
        // Also rejects views that repeat values: a network's weights have none.
        if last >= stored.len() / size || number > stored.len() / size {
            return Err("has more values than are stored".into());
        }
        let layout = Layout::new(Shape::from_dims(&self.shape), self.strides.clone(), self.offset);
        if let Some((start, end)) = layout.contiguous_offsets() {
            return Ok(stored[start * size..end * size].to_vec());
        }
        let value = |mut i: usize| {
            let mut at = self.offset;
            for (side, stride) in self.shape.iter().zip(&self.strides).rev() {
                at += i % side * stride;
                i /= side;
            }
            &stored[at * size..][..size]
        };
        Ok((0..number).flat_map(value).copied().collect())
    }

    /// Returns the number of values and the index of the last stored one; `None` if they exceed 64 bits.
    fn extent(&self) -> Option<(usize, usize)> {
        let mut number = 1usize;
        let mut last = self.offset;
        for (&side, &stride) in self.shape.iter().zip(&self.strides) {
            number = number.checked_mul(side)?;
            last = last.checked_add((side - 1).checked_mul(stride)?)?;
        }
        Some((number, last))
    }
}

fn count(object: &Object) -> Option<usize> {
    match *object {
        Object::Int(n) => usize::try_from(n).ok(),
        Object::Long(n) => usize::try_from(n).ok(),
        _ => None,
    }
}
