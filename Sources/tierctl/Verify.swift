import ArgumentParser
import Glibc
import TieredStore

/// Every checksum of a tier file.
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks every checksum of a tier file.",
        discussion: """
            Exit status: 0 when the file is sound, 1 when something in it is damaged, 2 when it \
            cannot be read as a tier file.
            """)

    @Argument(help: "The tier file.") var file: String
    @Flag(help: "No progress bar.") var quiet = false

    func run() throws {
        let isSound: Bool
        do throws(TierFileReader.Failure) { isSound = try verify() } catch {
            emitError("tierctl: \(error)\n")
            throw ExitCode(2)
        }
        if !isSound { throw ExitCode(1) }
    }

    private func verify() throws(TierFileReader.Failure) -> Bool {
        let reader = try TierFileReader(file)
        guard let rows = reader.rows else {
            emit("\(file): the segment table is damaged\n")
            return false
        }
        return try check(reader, rows)
    }

    private func check(
        _ reader: TierFileReader, _ rows: [Superblock.SegmentRow]
    ) throws(TierFileReader.Failure) -> Bool {
        let used = rows.indices.filter { rows[$0].state != .free }
        let total = used.reduce(0) { $0 + rows[$1].used }
        var records = 0, done = 0, damaged = 0, report = ""
        for segment in used {
            let finding = try reader.check(segment, rows[segment])
            // A running server fills and reuses segments while we read them.
            let isMoving = reader.isInUse && rows[segment].state != .sealed
            if !finding.headerIsSound {
                if !reader.isInUse {
                    damaged += 1
                    report += "segment \(segment): its header is damaged\n"
                }
            } else if !isMoving {
                damaged += finding.damaged.count
                for offset in finding.damaged.prefix(10) {
                    report += "segment \(segment), offset \(offset): the record is damaged\n"
                }
            }
            records += finding.records
            done += rows[segment].used
            progress(Double(done) / Double(max(1, total)))
        }
        if !quiet, isatty(2) != 0 { emitError("\r\u{1B}[K") }
        emit(report)
        emit("\(file): \(Format.count(Double(records))) records in \(used.count) segments "
            + "(\(Format.bytes(Double(done)))), \(damaged == 0 ? "all sound" : "\(damaged) damaged")\n")
        return damaged == 0
    }

    private func progress(_ share: Double) {
        guard !quiet, isatty(2) != 0 else { return }
        emitError("\r" + Format.bar(share, width: 40) + Format.right(Format.percent(share), 8))
    }
}
