import Glibc
import Testing

@testable import TierServer

/// The default size of the tier file comes from the file system the file is on.
@Suite struct TierFileTests {
    /// Method: /proc never has room, the working directory has.
    @Test func roomIsMeasuredWhereTheFileIs() throws {
        #expect(try TierFile.room(path: "/proc/tier.log") == 0)
        #expect(try TierFile.room(path: "tier.log") > 0)
        #expect(try TierFile.room(path: "/tier.log") > 0)
        #expect(throws: TierFile.Refusal.self) { try TierFile.room(path: "/nowhere/tier.log") }
    }

    /// Method: a file of 256 MiB; what else happens on the disk meanwhile is less than half of that.
    @Test func whatTheFileHasIsRoom() throws {
        let path = "/tmp/tierd-room-\(getpid())"
        defer { unlink(path) }
        let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        #expect(descriptor >= 0)
        defer { close(descriptor) }
        #expect(posix_fallocate(descriptor, 0, 256 << 20) == 0)
        var status = statvfs()
        #expect(statvfs(path, &status) == 0)
        let free = Int(status.f_bavail) * Int(status.f_frsize)
        #expect(try TierFile.room(path: path) > free + (128 << 20))
    }
}
