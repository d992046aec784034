//! Compiles the schema with a pure-Rust protobuf compiler, so that a build needs no system package.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = "steadfast.proto";
    println!("cargo:rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], ["."])?;
    // The largest message, and a rare one: the others need not make room for it.
    let boxed = ".steadfast.v1.Envelope.message.broker_status";
    prost_build::Config::new().bytes(["."]).btree_map(["."]).boxed(boxed).compile_fds(descriptors)?;
    Ok(())
}
