//! Compiles the schema with a pure-Rust protobuf compiler, so that a build needs no system package.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = "steadfast.proto";
    println!("cargo:rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], ["."])?;
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
