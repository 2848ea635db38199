//! Well-formed blocks of any values to any function: a whole answer, or an error that is not about the form.
#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use posthouse_udf::functions::{FUNCTIONS, Type};
use posthouse_udf::serve::{ServeError, serve};

fuzz_target!(|data: &[u8]| {
    let mut values = Unstructured::new(data);
    let Ok(function) = values.choose(FUNCTIONS) else { return };
    let rows = values.int_in_range(1..=20).unwrap_or(1);
    let mut block = vec![u8::try_from(function.arguments.len()).unwrap(), rows];
    for argument in function.arguments {
        push_text(&mut block, argument.name.as_bytes());
        push_text(&mut block, argument.data_type.to_string().as_bytes());
        push_column(&mut block, argument.data_type, usize::from(rows), &mut values);
    }
    let mut answer = Vec::new();
    match serve(function, &*block, &mut answer) {
        Ok(()) => assert!(answer.starts_with(&[1, rows]), "{function}: {answer:?}"),
        Err(ServeError::Rule(_)) => assert!(answer.is_empty(), "{function}: an answer before the error"),
        Err(error) => panic!("{function}: {error}"),
    }
});

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
        (Type::Nullable(_) | Type::Tuple(_), None) => unreachable!("no function takes them"),
    }
}
