import os
def test_x():
    import subprocess
    subprocess.run("""for i in /sys/bus/pci/devices/0000:?1*; do echo $i $(cat $i/vendor $i/device $i/class $i/numa_node) $(ls $i/infiniband $i/net); done
    rdma system; rdma link; ip -d link; ls /dev/infiniband; ls /sys/class/infiniband/*/ /sys/class/infiniband/*/ports/1/counters; ip link set ib0 up; sleep 1; ip link show ib0
    echo 4 > /sys/bus/pci/devices/0000:41:00.0/sriov_numvfs
    sleep 1
    rdma link; ip  link; ls /dev/infiniband
    dmesg | tail -40""", shell=True)
    assert 0
