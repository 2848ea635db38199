//! Builds a well-formed block of arguments from a fuzzer's bytes.

use crate::functions::{FUNCTIONS, Function, Type};
use arbitrary::Unstructured;

/// Returns a function, the row count and a block of its arguments; `None` if `data` is empty.
pub(crate) fn block_of_values(data: &[u8]) -> Option<(&'static Function, u8, Vec<u8>)> {
    let mut values = Unstructured::new(data);
    let function = values.choose(FUNCTIONS).ok()?;
    let rows = values.int_in_range(1..=20).unwrap_or(1);
    let mut block = vec![u8::try_from(function.arguments.len()).ok()?, rows];
    for argument in function.arguments {
        push_text(&mut block, argument.name.as_bytes());
        push_text(&mut block, argument.data_type.to_string().as_bytes());
        push_column(&mut block, argument.data_type, usize::from(rows), &mut values);
    }
    Some((function, rows, block))
}

fn push_text(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    while length > 0x7f {
        block.push(length as u8 | 0x80);
        length >>= 7;
    }
    block.push(length as u8);
    block.extend(text);
}

fn push_column(block: &mut Vec<u8>, data_type: Type, rows: usize, values: &mut Unstructured<'_>) {
    match (data_type, data_type.width()) {
        (_, Some(width)) => {
            let from = block.len();
            block.resize(from + rows * width, 0);
            let _ = values.fill_buffer(&mut block[from..]);
        }
        (Type::Array(item), None) => {
            let mut end = 0_u64;
            for _ in 0..rows {
                end += values.int_in_range(0..=4).unwrap_or(0);
                block.extend(end.to_le_bytes());
            }
            push_column(block, *item, usize::try_from(end).unwrap(), values);
        }
        (Type::String, None) => {
            for _ in 0..rows {
                let text: Vec<u8> = values.arbitrary().unwrap_or_default();
                push_text(block, &text);
            }
        }
        (_, None) => unreachable!("no function takes a {data_type}"),
    }
}
