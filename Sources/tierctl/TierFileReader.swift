import Glibc
import Primitives
import TieredStore

/// A tier file read offline, or beside a running server.
final class TierFileReader {
    struct Failure: Error, CustomStringConvertible {
        let description: String
        /// The file can be read, and is not what it should be.
        var isDamage = false
    }

    let path: String
    let superblock: Superblock
    /// Nil when the table's checksum fails.
    let rows: [Superblock.SegmentRow]?
    /// A server has the file open.
    let isInUse: Bool
    let allocatedBytes: Int
    private let descriptor: Int32
    private var memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    private var capacity = 4096

    init(_ path: String) throws(Failure) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure(description: "\(path): \(String(cString: strerror(errno)))")
        }
        isInUse = flock(descriptor, LOCK_SH | LOCK_NB) != 0
        var status = stat()
        fstat(descriptor, &status)
        allocatedBytes = Int(status.st_blocks) * 512
        guard pread(descriptor, memory, 4096, 0) == 4096 else {
            throw Failure(description: "\(path): too short for a tier file", isDamage: true)
        }
        do throws(Superblock.Refusal) { superblock = try Superblock(decoding: memory) } catch {
            switch error {
            case .notATierFile: throw Failure(description: "\(path): not a tier file", isDamage: true)
            case .damaged: throw Failure(description: "\(path): the superblock is damaged", isDamage: true)
            case .newerFormat(let version):
                throw Failure(description: "\(path): format \(version) is newer than this tierctl")
            }
        }
        let size = Superblock.size(segments: superblock.segmentCount) - 4096
        let table = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 8)
        defer { table.deallocate() }
        let isWhole = pread(descriptor, table, size, 4096) == size
        rows = isWhole ? Superblock.decodeTable(table, segments: superblock.segmentCount) : nil
    }

    deinit {
        memory.deallocate()
        close(descriptor)
    }

    /// What was found in one segment.
    struct Finding {
        var records = 0
        var bytes = 0
        /// Offsets of records that should be sound.
        var damaged: [Int] = []
        /// Records a server that was killed had not written to their end.
        var unfinished = 0
        var headerIsSound = true
    }

    /// Whether the last server was ended by force: segments may have been opened and written to since the
    /// table was written.
    var wasKilled: Bool { superblock.ending == .none && !isInUse }

    /// The table's rows; after a server was killed with those of segments that were opened since it was
    /// written.
    var rowsInUse: [Superblock.SegmentRow]? {
        guard wasKilled, var rows else { return rows }
        for i in rows.indices where rows[i].state == .free {
            guard let version = version(i), version > rows[i].version else { continue }
            rows[i] = Superblock.SegmentRow(state: .open, version: version, used: 0, live: 0)
        }
        return rows
    }

    /// A segment's version as its header has it; nil if that is none.
    func version(_ segment: Int) -> UInt32? {
        guard pread(descriptor, memory, SegmentHeader.size, position(segment)) == SegmentHeader.size
        else { return nil }
        return SegmentHeader.decode(memory, segment: segment, identity: superblock.identity)
    }

    /// Where a segment begins in the file.
    func position(_ segment: Int) -> Int { superblock.headerSize + segment * superblock.segmentSize }

    /// Reads what is used of a segment and checks every record in it. One that was left open has no length in
    /// the table: all of it is read, and what an older life has left behind its end is passed over.
    func check(_ segment: Int, _ row: Superblock.SegmentRow) throws(Failure) -> Finding {
        let isOpen = row.used == 0
        let used = isOpen ? superblock.segmentSize : min(row.used, superblock.segmentSize)
        try read(segment, used)
        var finding = Finding()
        guard let version = SegmentHeader.decode(memory, segment: segment, identity: superblock.identity)
        else {
            // Nothing was written to it yet.
            finding.headerIsSound = row.state == .open && (row.live == 0 || wasKilled)
            return finding
        }
        guard version == row.version || wasKilled && version > row.version else {
            finding.headerIsSound = false
            return finding
        }
        scan(used, version, isOpen: isOpen || version != row.version, &finding)
        return finding
    }

    private func read(_ segment: Int, _ used: Int) throws(Failure) {
        if used > capacity {
            memory.deallocate()
            memory = .allocate(byteCount: used, alignment: 4096)
            capacity = used
        }
        var done = 0
        while done < used {
            let n = pread(descriptor, memory + done, used - done, off_t(position(segment) + done))
            guard n > 0 else {
                throw Failure(description: "\(path): segment \(segment): cannot read it: "
                    + (n == 0 ? "the file ends" : String(cString: strerror(errno))), isDamage: n == 0)
            }
            done += n
        }
    }

    private func scan(_ used: Int, _ version: UInt32, isOpen: Bool, _ finding: inout Finding) {
        var at = SegmentHeader.size
        while at + Record.headerSize <= used {
            let record = Record(memory + at)
            if record.byteCount == 0 {
                at = (at + 4096) & ~4095
                continue
            }
            if record.isSound(available: used - at) {
                if record.segmentVersion == version {
                    finding.records += 1
                    finding.bytes += record.byteCount
                }
                at += (record.byteCount + 7) & ~7
                continue
            }
            if !isOpen || record.segmentVersion == version && !wasKilled {
                finding.damaged.append(at)
            } else if record.segmentVersion == version {
                finding.unfinished += 1
            }
            // The length cannot be trusted: go on with the next block.
            at = (at + 4096) & ~4095
        }
    }
}
