import ArgumentParser
import Glibc
import Primitives
import TieredStore

/// The names of a server's files in its `dir`, as its settings have them.
struct DataNames: ParsableArguments {
    @Option(help: "The tier file: `tier-path`.") var tierPath = "tier.log"
    @Option(help: "The RDB file.") var dbfilename = "dump.rdb"
    @Option(help: "The directory of the append-only file.") var appenddirname = "appendonlydir"
    @Option(help: "The append-only file.") var appendfilename = "appendonly.aof"

    static let checkpoint = "tier.checkpoint"

    /// A name from the settings, which may be a path of its own.
    static func path(_ directory: String, _ name: String) -> String {
        name.hasPrefix("/") ? name : "\(directory)/\(name)"
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func isDirectory(_ path: String) -> Bool {
        var facts = stat()
        return stat(path, &facts) == 0 && facts.st_mode & S_IFMT == S_IFDIR
    }
}

/// What was found, file by file: a line for each.
final class Findings {
    private(set) var sound = 0
    private(set) var damaged = 0
    private(set) var unreadable = 0

    func sound(_ path: String, _ text: String) {
        sound += 1
        emit("\(path): ok: \(text)\n")
    }

    /// Something that is said of a file and is no damage.
    func note(_ path: String, _ text: String) { emit("\(path): \(text)\n") }

    func damage(_ path: String, _ text: String) {
        damaged += 1
        emit("\(path): DAMAGED: \(text)\n")
    }

    func unreadable(_ path: String, _ text: String) {
        unreadable += 1
        emit("\(path): cannot be checked: \(text)\n")
    }
}

/// Every checksum of a data directory, or of one file.
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks every checksum of a server's files: tier file, checkpoint, append-only file, RDB.",
        discussion: """
            Given a directory, all that is there is checked, and that the parts belong together; given a \
            tier file or an RDB file (a backup), that file. To be used while no server runs on it; beside \
            one, what it is writing is passed over in the tier file.
            Exit status: 0 when all is sound, 1 when something is damaged, 2 when something cannot be read \
            or nothing is there. The torn end of an append-only file is no damage, and is said.
            """)

    @Argument(help: "The server's `dir`, or a file.") var path = "."
    @OptionGroup var names: DataNames
    @Flag(help: "No progress bar.") var quiet = false

    func run() throws {
        let findings = Findings()
        if DataNames.isDirectory(path) {
            checkDirectory(findings)
        } else if RDBCheck.isRDB(path) {
            checkRDB(path, findings)
        } else {
            do throws(TierFileReader.Failure) { try checkTier(TierFileReader(path), findings) } catch {
                emitError("tierctl: \(error)\n")
                throw ExitCode(2)
            }
        }
        if findings.damaged > 0 { throw ExitCode(1) }
        if findings.unreadable > 0 { throw ExitCode(2) }
    }

    // MARK: A directory

    private func checkDirectory(_ findings: Findings) {
        let tierPath = DataNames.path(path, names.tierPath)
        var tier: TierFileReader?
        if DataNames.exists(tierPath) {
            do throws(TierFileReader.Failure) {
                let reader = try TierFileReader(tierPath)
                tier = reader
                try checkTier(reader, findings)
            } catch {
                let text = String(error.description.dropFirst(tierPath.count + 2))
                error.isDamage ? findings.damage(tierPath, text) : findings.unreadable(tierPath, text)
            }
        }
        let checkpoint = DataNames.path(path, DataNames.checkpoint)
        if DataNames.exists(checkpoint) { checkCheckpoint(checkpoint, tier, findings) }
        AppendOnlyCheck(
            directory: DataNames.path(path, names.appenddirname), file: names.appendfilename, findings
        ) { checkCheckpoint($0, tier, findings, isBase: true) }.run()
        let rdb = DataNames.path(path, names.dbfilename)
        if DataNames.exists(rdb) { checkRDB(rdb, findings) }
        let isNothing = findings.sound + findings.damaged + findings.unreadable == 0
        if isNothing { return findings.unreadable(path, "no file of a server is there") }
        emit("\(path): " + (findings.damaged > 0 ? "damaged"
            : findings.unreadable > 0 ? "not all of it could be checked" : "sound") + "\n")
    }

    private func checkRDB(_ path: String, _ findings: Findings) {
        do throws(RDBCheck.Failure) {
            let found = try RDBCheck(path)
            guard found.end == found.byteCount else {
                return findings.damage(path, "more follows behind its end, at byte \(found.end)")
            }
            findings.sound(path, found.text)
        } catch {
            error.isDamage
                ? findings.damage(path, error.description) : findings.unreadable(path, error.description)
        }
    }

    /// `isBase`: of the append-only file; the tier file may have gone on since.
    private func checkCheckpoint(
        _ path: String, _ tier: TierFileReader?, _ findings: Findings, isBase: Bool = false
    ) {
        guard let tier else {
            return findings.unreadable(path, "there is no tier file it could belong to")
        }
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return findings.unreadable(path, String(cString: strerror(errno))) }
        defer { close(file) }
        var facts = stat()
        fstat(file, &facts)
        do throws(CheckpointError) {
            let found = try CheckpointCheck(
                byteCount: Int(facts.st_size), tier.superblock, isBase: isBase, version: tier.version
            ) { target, count, offset in
                var done = 0
                while done < count {
                    let n = pread(file, target + done, count - done, offset + done)
                    if n <= 0 { return false }
                    done += n
                }
                return true
            }
            if !found.isCurrent, !isBase {
                findings.note(path, "of generation \(found.head.generation); the tier file has gone on to "
                    + "\(tier.superblock.generation): a server will not use it")
            }
            findings.sound(path, "\(Format.count(Double(found.keys))) keys, "
                + "\(Format.count(Double(found.addresses))) of them in the tier file")
        } catch {
            if case .newerFormat = error.reason { return findings.unreadable(path, error.text) }
            findings.damage(path, "\(error.text) (byte \(error.offset))")
        }
    }

    // MARK: A tier file

    private func checkTier(
        _ reader: TierFileReader, _ findings: Findings
    ) throws(TierFileReader.Failure) {
        guard let rows = reader.rowsInUse else {
            return findings.damage(reader.path, "the segment table is damaged, at byte 4096")
        }
        let used = rows.indices.filter { rows[$0].state != .free }
        let total = used.reduce(0) { $0 + max(rows[$1].used, 1) }
        var records = 0, bytes = 0, done = 0, unfinished = 0, damaged: [String] = []
        for segment in used {
            let row = rows[segment], finding = try reader.check(segment, row)
            // A running server fills and reuses segments while we read them.
            let isMoving = reader.isInUse && row.state != .sealed
            let place = reader.position(segment)
            if !finding.headerIsSound, !reader.isInUse {
                damaged.append("segment \(segment): its header is damaged (byte \(place))")
            }
            if !isMoving {
                damaged += finding.damaged.map {
                    "segment \(segment), offset \($0): the record is damaged (byte \(place + $0))"
                }
            }
            records += finding.records
            bytes += finding.bytes
            unfinished += finding.unfinished
            done += max(row.used, 1)
            progress(Double(done) / Double(max(1, total)))
        }
        if !quiet, isatty(2) != 0 { emitError("\r\u{1B}[K") }
        if reader.isInUse { findings.note(reader.path, "in use by a running server") }
        if reader.wasKilled {
            findings.note(reader.path, "its last server was killed: \(unfinished) records unfinished")
        }
        let text = "\(Format.count(Double(records))) records in \(used.count) segments "
            + "(\(Format.bytes(Double(bytes)))), "
        guard !damaged.isEmpty else { return findings.sound(reader.path, text + "all sound") }
        for line in damaged.prefix(100) { findings.damage(reader.path, line) }
        findings.note(reader.path, text + "\(damaged.count) damaged")
    }

    private func progress(_ share: Double) {
        guard !quiet, isatty(2) != 0 else { return }
        emitError("\r" + Format.bar(share, width: 40) + Format.right(Format.percent(share), 8))
    }
}
