import Glibc
import Primitives
import TieredStore

/// A tier file read offline, or beside a running server.
final class TierFileReader {
    struct Failure: Error, CustomStringConvertible { let description: String }

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
            throw Failure(description: "\(path): too short for a tier file")
        }
        do throws(Superblock.Refusal) { superblock = try Superblock(decoding: memory) } catch {
            switch error {
            case .notATierFile: throw Failure(description: "\(path): not a tier file")
            case .damaged: throw Failure(description: "\(path): the superblock is damaged")
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
        var damaged: [Int] = []
        var headerIsSound = true
    }

    /// Reads the first `used` bytes of a segment and checks every record in them.
    func check(_ segment: Int, _ row: Superblock.SegmentRow) throws(Failure) -> Finding {
        let used = min(row.used, superblock.segmentSize)
        if used > capacity {
            memory.deallocate()
            memory = .allocate(byteCount: used, alignment: 4096)
            capacity = used
        }
        let start = superblock.headerSize + segment * superblock.segmentSize
        var done = 0
        while done < used {
            let n = pread(descriptor, memory + done, used - done, off_t(start + done))
            guard n > 0 else {
                throw Failure(description: "\(path): segment \(segment): cannot read it: "
                    + (n == 0 ? "the file ends" : String(cString: strerror(errno))))
            }
            done += n
        }
        var finding = Finding()
        let version = SegmentHeader.decode(memory, segment: segment, identity: superblock.identity)
        guard version == row.version else {
            finding.headerIsSound = false
            return finding
        }
        scan(used, &finding)
        return finding
    }

    private func scan(_ used: Int, _ finding: inout Finding) {
        var at = SegmentHeader.size
        while at + Record.headerSize <= used {
            let record = Record(memory + at)
            if record.byteCount == 0 {
                at = (at + 4096) & ~4095
                continue
            }
            if record.isSound(available: used - at) {
                finding.records += 1
                finding.bytes += record.byteCount
                at += (record.byteCount + 7) & ~7
            } else {
                finding.damaged.append(at)
                // The length cannot be trusted: go on with the next block.
                at = (at + 4096) & ~4095
            }
        }
    }
}
