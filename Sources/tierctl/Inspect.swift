import ArgumentParser
import TieredStore

/// Geometry and segments of a tier file.
struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows a tier file's geometry and its segments with their live ratio.",
        discussion: "Exit status: 0, or 2 when the file cannot be read as a tier file.")

    @Argument(help: "The tier file.") var file: String
    @Flag(help: "Free segments too.") var all = false

    func run() throws {
        do throws(TierFileReader.Failure) {
            let reader = try TierFileReader(file)
            emit(summary(reader))
            guard let rows = reader.rows else { return emit("The segment table is damaged.\n") }
            emit(table(rows))
        } catch {
            emitError("tierctl: \(error)\n")
            throw ExitCode(2)
        }
    }

    private func summary(_ reader: TierFileReader) -> String {
        let block = reader.superblock
        let rows = reader.rows ?? []
        let used = rows.filter { $0.state != .free }
        let live = used.reduce(0) { $0 + $1.live }, written = used.reduce(0) { $0 + $1.used }
        return """
            \(reader.path)\(reader.isInUse ? " (in use by a running server: figures are seconds old)" : "")
            format \(block.format) · generation \(block.generation) · \
            \(block.segmentCount) segments of \(Format.bytes(Double(block.segmentSize))) · \
            \(Format.bytes(Double(reader.allocatedBytes))) on disk
            \(used.count) segments in use · \(Format.bytes(Double(written))) written · \
            \(Format.bytes(Double(live))) live

            """ + "\n"
    }

    private func table(_ rows: [Superblock.SegmentRow]) -> String {
        var text = "segment  state       version       used       live\n"
        for (i, row) in rows.enumerated() where all || row.state != .free {
            let share = row.used > 0 ? Double(row.live) / Double(row.used) : 0
            text += Format.right("\(i)", 7) + "  " + Format.left("\(row.state)", 10)
                + Format.right("\(row.version)", 9) + Format.right(Format.bytes(Double(row.used)), 11)
                + Format.right(Format.bytes(Double(row.live)), 11) + "  " + Format.bar(share, width: 20)
                + Format.right(Format.percent(share), 8) + "\n"
        }
        return text
    }
}
