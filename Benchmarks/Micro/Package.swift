// swift-tools-version: 6.2
import PackageDescription

/// Micro-benchmarks, in a package of their own: nobody else pays for building ordo-one/benchmark.
///
/// What is measured is the root package's dynamic library TierMicro (Bodies/), loaded at the start.
let package = Package(
    name: "tierd-micro",
    dependencies: [
        // Without traits: its malloc counts need packages that are not to be had here. CAllocations counts.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
    ],
    targets: [
        .target(name: "CAllocations"),
        .executableTarget(
            name: "Micro",
            dependencies: ["CAllocations", .product(name: "Benchmark", package: "benchmark")],
            path: "Benchmarks/Micro",
            swiftSettings: [.treatAllWarnings(as: .error)],
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
    ]
)
