import RESPFront
import Testing
import TieredStore

@testable import TierServer

/// What the store is built with stays within what its formats can express, on any machine.
@Suite struct StoreOptionsTests {
    private func options(machineBytes: Int, _ settings: String...) throws -> StoreOptions {
        StoreOptions(
            try Configuration.load(arguments: settings), cores: 4, machineBytes: machineBytes,
            diskBytes: 1 << 40)
    }

    @Test(arguments: [1 << 30, 16 << 30, 55 << 30, 128 << 30, 1 << 40, 12 << 40])
    func addressesFitASlot(machineBytes: Int) throws {
        for settings in [[], ["--maxmemory", "8000gb"]] {
            let options = StoreOptions(
                try Configuration.load(arguments: settings), cores: 4, machineBytes: machineBytes,
                diskBytes: 1 << 40)
            #expect(options.reservedAddresses <= 1 << 40)
            #expect(options.memoryLimit <= options.addressSpace)
            // Extents of rounded sizes need addresses beyond the RAM they may take.
            #expect(options.reservedAddresses - options.addressSpace >= 2 * options.memoryLimit)
        }
    }

    @Test func aSmallMachineHasFourTimesItsRAM() throws {
        #expect(try options(machineBytes: 16 << 30).addressSpace == 64 << 30)
        #expect(try options(machineBytes: 1 << 30, "--maxmemory", "1mb").addressSpace == 4 << 30)
    }

    @Test func manyDatabasesGetFewerStripes() throws {
        #expect(try options(machineBytes: 16 << 30).stripes == 1024)
        #expect(try options(machineBytes: 16 << 30, "--databases", "16384").stripes == 64)
    }
}
