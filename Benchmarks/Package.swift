// swift-tools-version: 6.2
import PackageDescription

/// Measuring tools, apart from the product so that it never pays for their dependencies.
let package = Package(
    name: "tierd-benchmarks",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(name: "tierd", path: ".."),
    ],
    targets: [
        .target(name: "CEpoll"),
        .executableTarget(
            name: "tierload",
            dependencies: [
                "CEpoll",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: [
                .treatAllWarnings(as: .error),
                .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
            ]),
        .executableTarget(
            name: "loops",
            dependencies: [
                .product(name: "TierEngine", package: "tierd"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: [.treatAllWarnings(as: .error)]),
        .executableTarget(
            name: "rdbread",
            dependencies: [
                .product(name: "TierEngine", package: "tierd"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: [.treatAllWarnings(as: .error)]),
        .executableTarget(
            name: "hitratio",
            dependencies: [
                .product(name: "TierEngine", package: "tierd"),
                .product(name: "Workloads", package: "tierd"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: [.treatAllWarnings(as: .error)]),
    ]
)
