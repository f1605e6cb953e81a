import os
def test_x():
    print(os.listdir("/sys/bus/pci/devices"))
    import subprocess
    subprocess.run("for i in /sys/bus/pci/devices/*; do echo $i $(cat $i/vendor $i/device $i/class $i/numa_node); done; lsmod; cat /proc/modules | head; ls /dev/infiniband; free -m; dmesg | tail -5", shell=True)
    assert 0
