import ArgumentParser
import Foundation
import Primitives
import TieredStore

/// How fast an RDB file is taken apart, read in pieces as a server would; no value is decoded.
@main
struct RDBRead: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Throughput of the RDB file reader.")

    @Argument(help: "An RDB file; it should be in the page cache.") var path: String
    @Option(help: "Bytes a piece.") var piece = 1 << 20
    @Option(help: "Runs of each.") var repeats = 3

    func run() throws {
        for _ in 0..<repeats {
            for checks in [true, false] {
                let start = DispatchTime.now().uptimeNanoseconds
                let (bytes, entries) = try read(checks)
                let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
                print(String(
                    format: #"{"name": "rdbread", "checks": %@, "MB/s": %.0f, "entries": %d, "ns": %.0f}"#,
                    checks ? "true" : "false", Double(bytes) / seconds / 1e6, entries,
                    seconds / Double(max(1, entries)) * 1e9))
            }
        }
        let bytes = [UInt8](repeating: 7, count: 256 << 20)
        let start = DispatchTime.now().uptimeNanoseconds
        let checksum = bytes.withView { CRC64.checksum($0) }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        print(String(
            format: #"{"name": "crc64", "checksum": "%llx", "MB/s": %.0f}"#, checksum,
            Double(bytes.count) / seconds / 1e6))
    }

    private func read(_ checks: Bool) throws -> (bytes: Int, entries: Int) {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { throw ValidationError("cannot open \(path)") }
        defer { close(descriptor) }
        let file = RDBFile(modules: .skipped, checks: checks)
        var bytes = 0, entries = 0
        while true {
            while let event = try file.next() {
                if case .entry = event { entries += 1 }
                if case .end = event { return (bytes, entries) }
            }
            let room = file.room(piece)
            let count = Foundation.read(descriptor, room.baseAddress!, piece)
            if count > 0 { file.added(count) } else { file.finish() }
            bytes += max(0, count)
        }
    }
}
