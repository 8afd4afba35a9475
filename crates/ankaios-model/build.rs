//! Compiles the protobuf schema without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let schema = protox::compile(["control_api.proto"], ["proto"])?;
    prost_build::Config::new()
        // Ordered maps, so that equal messages are encoded to equal bytes.
        .btree_map(["."])
        .compile_fds(schema)?;
    Ok(())
}
