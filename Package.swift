// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target is built the same way. Exclusivity is checked by the debug and sanitizer
/// builds; the release build drops the run-time check because it showed on the request path.
let house: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: house)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: house)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: house)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "tierd",
    products: [
        .executable(name: "tierd", targets: ["tierd"]),
        .executable(name: "tierctl", targets: ["tierctl"]),
        .executable(name: "tiersim", targets: ["tiersim"]),
        .library(
            name: "TierEngine",
            targets: ["Primitives", "RESPWire", "TieredStore", "RESPFront", "Simulator"]),
        .library(name: "Workloads", targets: ["Workloads"]),
        // Loaded by Benchmarks/Micro.
        .library(name: "TierMicro", type: .dynamic, targets: ["MicroBodies"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    ],
    targets: [
        .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .target(name: "CSystem"),
        // Lua's headers name its version in their path; the libraries are Debian's.
        .target(
            name: "CScripting",
            linkerSettings: ["lua5.1", "lua5.1-cjson", "lua5.1-bitop"].map { .linkedLibrary($0) }),

        module("Primitives", ["CSystem"]),
        module("IOUring", ["CLiburing", "CSystem", "Primitives"]),
        module("RESPWire", ["Primitives"]),
        module("TieredStore", ["Primitives", "CLZ4", "CSystem"]),
        module("Scripting", ["CScripting", "Primitives"]),
        module("RESPFront", ["RESPWire", "TieredStore", "Scripting", "Primitives", "CSystem"]),
        module("TierServer", ["RESPFront", "RESPWire", "TieredStore", "IOUring", "Primitives", "CSystem"]),
        module("Simulator", ["RESPFront", "RESPWire", "TieredStore", "Primitives"]),

        program("tierd", ["TierServer"]),
        program("tierctl", ["RESPFront", "RESPWire", "TieredStore", "Primitives", "CSystem", argumentParser]),
        program("tiersim", ["Simulator", argumentParser]),

        // What the regression gate and the micro-benchmarks run.
        .target(
            name: "Workloads",
            dependencies: ["RESPFront", "RESPWire", "TieredStore", "Primitives", "CSystem"],
            path: "Benchmarks/Workloads", swiftSettings: house),
        .executableTarget(
            name: "tiergate", dependencies: ["Workloads"], path: "Benchmarks/Gate", swiftSettings: house),
        .target(
            name: "MicroBodies", dependencies: ["Workloads", "IOUring", "Primitives", "CSystem"],
            path: "Benchmarks/Micro/Bodies", swiftSettings: house),

        tests("PrimitivesTests", ["Primitives"]),
        tests("IOUringTests", ["IOUring", "Primitives", "CSystem"]),
        tests("RESPWireTests", ["RESPWire", "Primitives"]),
        tests("TieredStoreTests", ["TieredStore", "Primitives"]),
        tests("ScriptingTests", ["Scripting", "Primitives"]),
        tests("RESPFrontTests", ["RESPFront", "RESPWire", "TieredStore", "Primitives"]),
        tests(
            "TierServerTests",
            ["TierServer", "RESPFront", "RESPWire", "TieredStore", "Primitives", "CSystem"]),
        tests("SimulatorTests", ["Simulator"]),
        tests("WorkloadsTests", ["Workloads"]),
    ]
)
